"""Our own keys at the identity provider's endpoints: those that verify what we gave, and that sign what we say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from tailseal.oauth.errors import unavailable
from tailseal.tokens.errors import KeySetError
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.tokens.mint import joined, unsigned
from tailseal.tokens.refusals import Outage
from tailseal.tokens.signers import Signer
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.outbound.signing import SigningUnavailable
from tailseal.workers.idp.context import IdpRuntime

USUAL: Final = "RS256"
"""What every client verifies (OpenID Connect Core section 15.1)."""


def published(snapshot: Snapshot) -> KeySet:
    """The keys that we publish: with which what we signed verifies.

    Raises:
        OAuthError: there are none yet.
    """
    try:
        return _read(snapshot.signing.jwks)
    except KeySetError:
        raise unavailable(Outage.NO_ACTIVE_KEY) from None


async def signed(
    runtime: IdpRuntime, snapshot: Snapshot, typ: str, claims: Mapping[str, Any], algorithm: str = ""
) -> str:
    """A JWT of ours.

    Args:
        runtime: for keys outside of this process.
        snapshot: whose active key signs.
        typ: header of that name.
        claims: of the token.
        algorithm: wanted; empty: RS256 where there is such a key, else the provider's default.

    Raises:
        OAuthError: `temporarily_unavailable`: no key can sign now.
    """
    signer = _signer(snapshot, algorithm, runtime.common.clock())
    text = unsigned(claims, signer, typ)
    if not signer.remote:
        return joined(text, signer.sign(text))
    try:
        signature = await runtime.common.remote.sign(signer, text)
    except SigningUnavailable as error:
        raise unavailable(error.reason) from None
    if not _counts(runtime, signer):
        raise unavailable(Outage.NO_ACTIVE_KEY)  # revoked while it signed: what it made is thrown away
    return joined(text, signature)


def _counts(runtime: IdpRuntime, signer: Signer) -> bool:
    """Whether the key is still published, and within its lease."""
    present = runtime.common.current()
    if present is None or signer.kid not in present.signing.signers:
        return False
    return runtime.common.clock() < present.signing.held[signer.kid].sign_until


def _signer(snapshot: Snapshot, algorithm: str, now: float) -> Signer:
    signer = snapshot.signing.signer(algorithm or USUAL, now)
    if signer is None and not algorithm:
        signer = snapshot.signing.signer("", now)
    if signer is None:
        raise unavailable(Outage.NO_ACTIVE_KEY)
    return signer


# Every request asks; the set changes with a rotation.
@lru_cache(maxsize=4)
def _read(jwks: bytes) -> KeySet:
    return parse_jwks(jwks)
