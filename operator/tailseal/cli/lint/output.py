"""Findings as text, JSON, SARIF 2.1.0 and annotations of GitHub workflows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from tailseal.cli.output import envelope, printable
from tailseal.domain.policy.review.lint import REMEDIES, Level, ObjectKey

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_GITHUB: Final = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


@dataclass(frozen=True, slots=True)
class Row:
    """A finding and its place.

    Args:
        file: relative to the working directory where it lies below that.
        line: counted from 1; 0 if it is not known.
        key: the object; None if the finding is about the file.
        path: the field; empty if the finding is about the file.
        message: what is wrong, and what would be right.
        rule: a stable word.
        level: how bad it is.
    """

    file: str
    line: int
    key: ObjectKey | None
    path: str
    message: str
    rule: str
    level: Level

    @property
    def subject(self) -> str:
        """The object, as people name it."""
        return f"{self.key[0]} {self.key[1]}/{self.key[2]}" if self.key is not None else ""

    @property
    def sentence(self) -> str:
        """Object, field and message."""
        return ": ".join(part for part in (self.subject, self.path, self.message) if part)

    @property
    def remedy(self) -> str:
        """What to do, if there is more to say than the message."""
        return REMEDIES.get(self.rule, "")


def text(rows: Sequence[Row]) -> str:
    """For people: `file:line: level: what [rule]`, and what to do."""
    lines = []
    for row in rows:
        place = f"{row.file}:{row.line}" if row.line else row.file
        lines.append(f"{place}: {row.level.value}: {row.sentence} [{row.rule}]")
        if row.remedy:
            lines.append(f"  fix: {row.remedy}")
    return "\n".join(map(printable, lines))


def as_json(rows: Sequence[Row]) -> str:
    """For programs."""
    counts = Counter(row.level for row in rows)
    summary = {f"{level.value}s": counts[level] for level in Level}
    return envelope("LintReport", {"summary": summary, "findings": [_document(row) for row in rows]})


def sarif(rows: Sequence[Row]) -> str:
    """For code scanning."""
    rules = sorted({row.rule for row in rows})
    driver = {
        "name": "tailseal lint",
        "rules": [
            {"id": rule, "shortDescription": {"text": rule}, "help": {"text": REMEDIES.get(rule, rule)}}
            for rule in rules
        ],
    }
    results = [_result(row, rules.index(row.rule)) for row in rows]
    runs = [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}]
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": runs}, indent=2)


def github(rows: Sequence[Row]) -> str:
    """Workflow commands, which GitHub shows beside the lines of a pull request."""
    return "\n".join(map(_command, rows))


FORMATS: Final[Mapping[str, Callable[[Sequence[Row]], str]]] = {
    "text": text,
    "json": as_json,
    "sarif": sarif,
    "github": github,
}


def _document(row: Row) -> dict[str, Any]:
    kind, namespace, name = row.key or (None, None, None)
    return {
        "file": row.file,
        "line": row.line or None,
        "level": row.level.value,
        "rule": row.rule,
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "field": row.path or None,
        "message": row.message,
        "remedy": row.remedy or None,
    }


def _result(row: Row, rule: int) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(row.file)}}
    if row.line:
        physical["region"] = {"startLine": row.line}
    location: dict[str, Any] = {"physicalLocation": physical}
    if row.key is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": "/".join((*row.key, row.path)), "kind": "member"}]
    same = "\n".join((row.rule, row.subject or row.file, row.path))
    return {
        "ruleId": row.rule,
        "ruleIndex": rule,
        "level": row.level.value,
        "message": {"text": printable(row.sentence)},
        "locations": [location],
        "partialFingerprints": {"object/v1": hashlib.sha256(same.encode()).hexdigest()},
    }


def _uri(file: str) -> str:
    return f"file://{quote(file)}" if file.startswith("/") else quote(file)


def _command(row: Row) -> str:
    place = {"file": row.file, "line": str(row.line) if row.line else "", "title": f"tailseal: {row.rule}"}
    properties = ",".join(f"{name}={_property(value)}" for name, value in place.items() if value)
    message = f"{row.sentence} (fix: {row.remedy})" if row.remedy else row.sentence
    return f"::{_GITHUB[row.level]} {properties}::{_data(printable(message))}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(printable(value)).replace(":", "%3A").replace(",", "%2C")
