"""Load, create and save the Secret `<provider>-issuer`: the issuer's ledger, poll key and salt, kept for ever."""

from __future__ import annotations

from dataclasses import dataclass

from tailseal.cluster.port import Object
from tailseal.domain.rotation import IssuerLedger
from tailseal.reconcile.context import Context


class NameTaken(Exception):  # noqa: N818 - a name of the field
    """An object that is not ours holds the name; never adopted."""


@dataclass(frozen=True, slots=True)
class IssuerState:
    """What the Secret holds.

    Args:
        secret: the object as read or written; its resourceVersion is the next write's precondition.
        ledger: decoded.
        poll_key: 32 bytes with which the status poll is authenticated.
        salt: 32 bytes, for pairwise subjects.
    """

    secret: Object
    ledger: IssuerLedger
    poll_key: bytes
    salt: bytes


async def load_or_create(ctx: Context, namespace: str, provider: str) -> IssuerState:
    """The issuer's state; made anew if there is none.

    Raises:
        NameTaken: an object that is not ours holds the name.
        LedgerError: the content is unreadable; it is never made anew.
        Conflict: somebody else wrote first; reconcile again.
    """
    raise NotImplementedError


async def save(ctx: Context, state: IssuerState, ledger: IssuerLedger) -> IssuerState:
    """Write another ledger, on top of exactly the version that was read; equal ledgers are not written.

    Raises:
        Conflict: somebody else wrote first; reconcile again.
    """
    raise NotImplementedError
