"""The rules of `tailseal guard serve`: which requests need what. What no rule is about is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import unquote_to_bytes

from tailseal.guard.denied import AMBIGUOUS, NO_RULE, Denied
from tailseal.guard.requirement import Requirement

MAX_RULES: Final = 512
MAX_PATH: Final = 8192
"""Characters of a path that is looked at."""

_METHOD: Final = re.compile(r"[A-Z]{1,32}")
_PLACE: Final = re.compile(r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>:path)?\}")
_STRANGE: Final = re.compile(r"[\x00-\x1f\x7f\\/;]")
"""What some servers take for the end of a segment or of the path, and others do not."""
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class RulesError(ValueError):
    """The file of rules is wrong; says where, and what would be right."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Args:
        path: as written, such as `/items/{id}`.
        segments: a literal, or in braces the name of what may stand there.
        rest: name of what may follow, of any length; None: nothing may.
        methods: upper case; empty: all.
        requirements: all must hold.
        anonymous: whether anybody may, and nobody is asked who it is.
    """

    path: str
    segments: tuple[str, ...]
    rest: str | None
    methods: frozenset[str]
    requirements: tuple[Requirement, ...]
    anonymous: bool

    def parameters(self, method: str, segments: Sequence[str]) -> dict[str, str] | None:
        """The parameters of a path that the rule is about; None: it is not."""
        if self.methods and method not in self.methods:
            return None
        own, tail = segments[: len(self.segments)], segments[len(self.segments) :]
        if len(own) < len(self.segments) or (tail and self.rest is None):
            return None
        found = {} if self.rest is None else {self.rest: "/".join(tail)}
        for wanted, segment in zip(self.segments, own, strict=True):
            if wanted.startswith("{"):
                if not segment:
                    return None
                found[wanted[1:-1]] = segment
            elif wanted != segment:
                return None
        return found


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules, in the order in which they are tried: the first one that is about a request decides."""

    rules: tuple[Rule, ...]

    @classmethod
    def read(cls, content: object) -> Self:
        """The rules of a file.

        Args:
            content: its YAML or JSON.

        Raises:
            RulesError: it is wrong.
        """
        members = _members(content, "", frozenset({"rules"}))
        found = members.get("rules")
        if not isinstance(found, list) or not 1 <= len(found) <= MAX_RULES:
            raise RulesError(f"rules: must be a list of 1 to {MAX_RULES} rules")
        return cls(tuple(_rule(rule, f"rules[{number}]") for number, rule in enumerate(found)))

    def find(self, method: str, target: str) -> tuple[Rule, dict[str, str]] | Denied:
        """The rule for a request and its path parameters, or why there is none.

        Args:
            method: of the request.
            target: its path as it was sent, percent-encoded, a query behind it.
        """
        segments = _segments(target)
        if segments is None:
            return AMBIGUOUS
        for rule in self.rules:
            if (parameters := rule.parameters(method, segments)) is not None:
                return rule, parameters
        return NO_RULE


def _segments(target: str) -> tuple[str, ...] | None:
    """What stands between the slashes, decoded; None: servers differ in what it means."""
    path = target.partition("?")[0]
    if len(path) > MAX_PATH or not path.startswith("/") or "#" in path or _PERCENT.search(path):
        return None
    try:
        segments = tuple(unquote_to_bytes(segment).decode() for segment in path[1:].split("/"))
    except UnicodeError:
        return None
    if any(segment in {".", ".."} or _STRANGE.search(segment) for segment in segments) or "" in segments[:-1]:
        return None
    return segments


def _rule(found: object, where: str) -> Rule:
    members = _members(found, where, frozenset({"path", "methods", "require", "anonymous"}))
    path, anonymous = members.get("path"), members.get("anonymous", False)
    if not isinstance(path, str) or not path.startswith("/"):
        raise RulesError(f"{where}.path: must be a path such as /items/{{id}}")
    if not isinstance(anonymous, bool):
        raise RulesError(f"{where}.anonymous: must be true or false")
    segments, rest = _path(path, f"{where}.path")
    names = frozenset(segment[1:-1] for segment in segments if segment.startswith("{")) | ({rest} if rest else set())
    requirements = tuple(_requirements(members.get("require", []), names, f"{where}.require"))
    if anonymous and requirements:
        raise RulesError(f"{where}: anybody may, or something is required: leave one of anonymous and require out")
    if not anonymous and "require" not in members:
        raise RulesError(f"{where}.require: is missing; an empty list lets in everybody whom the tailnet knows")
    return Rule(path, segments, rest, frozenset(_methods(members, where)), requirements, anonymous)


def _path(path: str, where: str) -> tuple[tuple[str, ...], str | None]:
    segments: list[str] = []
    *before, last = path[1:].split("/")
    for segment in before:
        place = _PLACE.fullmatch(segment)
        if (place is None and ("{" in segment or "}" in segment)) or (place is not None and place["rest"]):
            raise RulesError(
                f"{where}: braces hold a whole segment, as in /items/{{id}}; {{name:path}} only at the end"
            )
        segments.append(segment)
    place = _PLACE.fullmatch(last)
    if place is None and ("{" in last or "}" in last):
        raise RulesError(f"{where}: braces hold a whole segment, as in /items/{{id}}")
    if place is not None and place["rest"]:
        rest: str | None = place["name"]
    else:
        rest = None
        segments.append(last)
    names = [segment for segment in (*segments, f"{{{rest}}}") if segment.startswith("{")]
    if len(names) != len(set(names)):
        raise RulesError(f"{where}: a name may stand there once only")
    return tuple(segments), rest


def _methods(members: Mapping[str, Any], where: str) -> Iterator[str]:
    methods = members.get("methods", [])
    if not isinstance(methods, list):
        raise RulesError(f"{where}.methods: must be a list such as [GET, HEAD]")
    for method in methods:
        if not isinstance(method, str) or not _METHOD.fullmatch(method):
            raise RulesError(f"{where}.methods: must be a list such as [GET, HEAD]")
        yield method


def _requirements(found: object, names: frozenset[str], where: str) -> Iterator[Requirement]:
    if not isinstance(found, list):
        raise RulesError(f"{where}: must be a list")
    for number, entry in enumerate(found):
        place = f"{where}[{number}]"
        members = _members(entry, place, frozenset({"capability", "action", "resource"}))
        capability, action, resource = (members.get(member) for member in ("capability", "action", "resource"))
        resources = [resource] if isinstance(resource, str) else resource
        if not isinstance(capability, str) or not isinstance(action, str) or not _are_texts(resources):
            raise RulesError(f"{place}: needs capability, action and resource, all of them texts")
        try:
            requirement = Requirement.of(capability, action, resources or ())
        except ValueError as error:
            raise RulesError(f"{place}: {error}") from None
        if unknown := sorted(requirement.parameters - names):
            raise RulesError(f"{place}.resource: the path has no {{{unknown[0]}}}")
        yield requirement


def _are_texts(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(text, str) for text in found)


def _members(found: object, where: str, known: frozenset[str]) -> Mapping[str, Any]:
    dot = f"{where}." if where else ""
    if not isinstance(found, dict):
        raise RulesError(f"{where or 'the file'}: must have members, of {', '.join(sorted(known))}")
    if unknown := sorted(str(name) for name in found if name not in known):
        raise RulesError(f"{dot}{unknown[0]}: is not known: there are {', '.join(sorted(known))}")
    return found
