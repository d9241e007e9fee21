"""Tells one admission of a client from the next: what people gave it before it was taken away counts for nothing after.

An admission is the object's uid with a mark behind it that is drawn when the client is let in. It is what logins and
consents are bound to, and it ends where the permission does. A mark that was lost is drawn anew, which ends logins, so
whoever loses one never revives any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import ClientRecord
from tailseal.domain.clients.compile import CompiledClient

Outcome = CompiledClient | tuple[Finding, ...]
"""A client that may be served, or why it may not."""

MARK_BYTES: Final = 8

_BETWEEN: Final = "@"


def uid_of(admission: str) -> str:
    """The object's uid; before there were marks, that alone was the admission."""
    return admission.partition(_BETWEEN)[0]


def admitted(
    judged: Iterable[tuple[ClientRecord, Outcome]], former: Mapping[str, str], draw: Callable[[int], bytes]
) -> dict[str, str]:
    """The admission of each client that has one, by namespace and name.

    What the provider's bounds no longer allow loses its own. One whose spec is wrong otherwise keeps it: its logins
    pause, for a slip of its owner takes no permission away.

    Args:
        judged: each client as its object is, with its verdict.
        former: admissions as they were.
        draw: makes that many random bytes.
    """
    found: dict[str, str] = {}
    for record, outcome in judged:
        kept = former.get(record.id, "")
        if uid_of(kept) != record.uid:
            kept = ""
        if isinstance(outcome, CompiledClient):
            found[record.id] = kept or f"{record.uid}{_BETWEEN}{draw(MARK_BYTES).hex()}"
        elif kept and not any(finding.reason is Reason.EXCEEDS_BOUNDS for finding in outcome):
            found[record.id] = kept
    return found
