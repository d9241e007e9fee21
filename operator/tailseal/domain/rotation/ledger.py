"""Base of both ledgers: versioned canonical JSON, decoded strictly or not at all: a guess could break a law."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from tailseal.domain import canonical

FILE = "ledger.json"
"""Under this name a ledger stands in its Secret, beside the material it speaks of."""


_NEVER_LEFT_OUT = frozenset({"version", "keys", "served", "revoked", "active"})
"""What the laws rest on, of the members that a ledger has."""


class LedgerError(Exception):
    """The ledger cannot be read; says where and why, never what stood there."""


class Entry(BaseModel):
    """Anything inside a ledger: camelCase, immutable, no unknown members, finite numbers."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    def but(self, **changes: Any) -> Self:  # noqa: ANN401 - whatever the fields are
        """The same entry with some fields replaced; this one where nothing would change."""
        changed = {name: value for name, value in changes.items() if getattr(self, name) != value}
        return self.model_copy(update=changed) if changed else self


class Ledger(Entry):
    """A whole ledger. Instants are Unix seconds, durations are seconds."""

    version: Literal[1] = 1

    def to_json(self) -> bytes:
        """Canonical JSON: equal ledgers, equal bytes."""
        return canonical.dumps(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, content: bytes | str) -> Self:
        """The ledger that `to_json` wrote.

        Raises:
            LedgerError: anything else.
        """
        try:
            ledger = cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            raise LedgerError(f"{where}: {first['msg']}") from None
        # Defaults are for members that a later version adds. An emptied ledger is no ledger of an issuer that is new.
        if lacking := sorted(_NEVER_LEFT_OUT & (cls.model_fields.keys() - ledger.model_fields_set)):
            raise LedgerError(f"{lacking[0]} is missing")
        return ledger
