"""What all models of the API share: names as Kubernetes writes them, and rules said once for API server and Python.

A rule stands next to the model it is about, as CEL for the API server and as a predicate for everything that reads
manifests without one (`tailseal serve`, `tailseal lint`). The tests hold both against the same table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_WORDS: Final = {
    "dpop": "DPoP",
    "id": "ID",
    "ids": "IDs",
    "ttl": "TTL",
    "uids": "UIDs",
    "uri": "URI",
    "uris": "URIs",
    "url": "URL",
    "urls": "URLs",
}
_CEL_RESERVED: Final = frozenset({"import", "namespace", "package", "function", "in", "as", "for", "if", "let", "var"})


@functools.cache
def to_alias(attribute: str) -> str:
    """The member's name in a manifest: `max_ttl` is `maxTTL`, `from_` is `from`."""
    first, *rest = attribute.rstrip("_").split("_")
    return first + "".join(_WORDS.get(word, word.capitalize()) for word in rest)


def to_cel(attribute: str) -> str:
    """The member's name in a CEL expression, where reserved words are escaped."""
    alias = to_alias(attribute)
    return f"__{alias}__" if alias in _CEL_RESERVED else alias


_CO_OWNED: Final = (
    "; a member that your manifest does not have is held by another field manager: "
    "one kubectl patch --type=merge that sets it to null and yours to its value ends that"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One law that an object can show to be broken by itself.

    Args:
        cel: the law for the API server; `self` is the object of the model it stands in.
        message: what would be right, naming the members.
        holds: the same law for Python; None for a transition rule, which needs the former object.
        union: attribute names of the members, if the law is about which of them are there. Then no schema default may
            stand in or around it, and the message names those that were found: a manifest that switches from one to
            another is refused as long as somebody else holds the old one.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    union: tuple[str, ...] = ()

    @property
    def message_expression(self) -> str | None:
        """The message as CEL, where it depends on the object."""
        if not self.union:
            return None
        found = " + ".join(f"(has(self.{to_cel(member)}) ? ' {to_alias(member)}' : '')" for member in self.union)
        return f"'{self.message}, found:' + {found} + '{_CO_OWNED}'"

    def explain(self, model: BaseModel) -> str:
        """The message about one object that breaks the law."""
        if not self.union:
            return self.message
        there = (member for member in self.union if member in model.model_fields_set)
        return " ".join([f"{self.message}, found:", *(to_alias(m) for m in there if getattr(model, m) is not None)])


def exactly_one(*members: str) -> Rule:
    """Union: one of the members (attribute names), no more, no less."""
    there = ", ".join(f"has(self.{to_cel(member)})" for member in members)
    return Rule(
        cel=f"[{there}].filter(x, x).size() == 1",
        message=f"exactly one of {', '.join(map(to_alias, members))} must be given",
        holds=lambda model: [getattr(model, member) for member in members].count(None) == len(members) - 1,
        union=members,
    )


def immutable(member: str) -> Rule:
    """The member keeps the value it was created with."""
    name = to_cel(member)
    return Rule(cel=f"self.{name} == oldSelf.{name}", message=f"{to_alias(member)} is immutable: create another object")


class ApiModel(BaseModel):
    """Base of every object in a manifest: camelCase there, immutable here, unknown members refused.

    The docstring below a field is its description in the CRD.
    """

    model_config = ConfigDict(
        alias_generator=to_alias,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        defer_build=True,  # a process pays for the models that it reads, not for all that it imports
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """Laws of this object, beside those that its fields' types say."""

    @model_validator(mode="after")
    def _obey_rules(self) -> ApiModel:
        broken = [rule.explain(self) for rule in self.rules if rule.holds is not None and not rule.holds(self)]
        if broken:
            raise PydanticCustomError("rule", "{text}", {"text": "; ".join(broken)})
        return self

    def document(self) -> dict[str, Any]:
        """The JSON value as a manifest has it: what was said, without defaults and absent members."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


@dataclass(frozen=True, slots=True)
class Items:
    """How a list merges and how long it may be.

    Args:
        maximum: most items.
        kind: `set` of scalars, `map` of objects by `key`, or `atomic`: replaced as one.
        key: attribute name of the member that names an item of a `map`.
        minimum: fewest items.
    """

    maximum: int
    kind: Literal["set", "map", "atomic"] = "atomic"
    key: str = "name"
    minimum: int = 0

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Check length and uniqueness as the API server does."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say the same in the CRD."""
        result = handler(schema)
        result["maxItems"] = self.maximum
        if self.minimum:
            result["minItems"] = self.minimum
        result["x-kubernetes-list-type"] = self.kind
        if self.kind == "map":
            result["x-kubernetes-list-map-keys"] = [to_alias(self.key)]
        return result

    def _check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self.minimum <= len(items) <= self.maximum:
            raise PydanticCustomError(
                "items",
                "has {count} items, must have {minimum} to {maximum}",
                {"count": len(items), "minimum": self.minimum, "maximum": self.maximum},
            )
        if self.kind != "atomic":
            keys = items if self.kind == "set" else [getattr(item, self.key) for item in items]
            if len(set(keys)) < len(items):
                what = "items" if self.kind == "set" else f"values of {to_alias(self.key)}"
                raise PydanticCustomError("duplicate", "{what} must be distinct", {"what": what})
        return items
