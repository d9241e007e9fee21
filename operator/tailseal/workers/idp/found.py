"""What a presented token is: a JWT of ours, or a handle of something that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tailseal.oauth import credentials, introspection
from tailseal.oauth.records import Access, Login
from tailseal.state.grants import Family, Kind, Record
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.idp import signing
from tailseal.workers.idp.context import IdpRuntime

_DOTS = 2
_LONGEST_HANDLE = 256


@dataclass(frozen=True, slots=True)
class Found:
    """A token of ours that counts.

    Args:
        claims: as a JWT access token has them; of a refresh token, as far as it has any.
        record: what is kept; None: it is a JWT.
        family: that it belongs to; None: none.
    """

    claims: Mapping[str, Any] = field(repr=False)
    record: Record | None
    family: Family | None

    @property
    def refreshes(self) -> bool:
        """Whether it is a refresh token."""
        return self.record is not None and self.record.kind is Kind.REFRESH


async def find(runtime: IdpRuntime, snapshot: Snapshot, token: str) -> Found | None:
    """The token, if it is one of ours that counts now; hints are not needed to tell them apart.

    Raises:
        StateUnavailable: nobody can say.
    """
    if token.count(".") == _DOTS:
        return await _jwt(runtime, snapshot, token)
    if len(token) > _LONGEST_HANDLE:
        return None
    digest = credentials.digest(token)
    record = await runtime.grants.get(Kind.ACCESS, digest) or await runtime.grants.get(Kind.REFRESH, digest)
    if record is None:
        return None
    family = await runtime.grants.family(record.family) if record.family else None
    if record.family and family is None:
        return None
    if record.kind is Kind.ACCESS:
        return Found(Access.from_bytes(record.content).claims, record, family)
    return Found(_of_refresh(record, family, snapshot), record, family) if family is not None else None


async def _jwt(runtime: IdpRuntime, snapshot: Snapshot, token: str) -> Found | None:
    own = introspection.own(token, signing.published(snapshot), snapshot.settings)
    if own is None or own.payload["exp"] <= runtime.common.clock():
        return None
    if await runtime.grants.get(Kind.REVOKED, introspection.mark_of(own.payload)) is not None:
        return None
    identifier = introspection.family_of(own.payload)
    family = await runtime.grants.family(identifier) if identifier else None
    return None if identifier and family is None else Found(own.payload, None, family)


def _of_refresh(record: Record, family: Family, snapshot: Snapshot) -> dict[str, Any]:
    login = Login.from_bytes(family.content)
    return {
        "iss": snapshot.settings.issuer,
        "client_id": login.client_id,
        "sub": login.subject,
        "scope": " ".join(login.scopes),
        "exp": int(record.expires_at),
    }
