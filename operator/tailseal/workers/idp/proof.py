"""Proofs of possession (RFC 9449) at the provider's endpoints: which key the caller has, if it shows one."""

from __future__ import annotations

from typing import Final

from tailseal.oauth.errors import OAuthError
from tailseal.tokens.dpop import Expected, Nonces, Proof, ProofError, ProofFault, check
from tailseal.tokens.once import proof_key
from tailseal.workers.common.http import wire
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Request

_WANTED: Final = frozenset({b"dpop"})


async def proven(runtime: IdpRuntime, request: Request, token: str = "") -> str:
    """Thumbprint of the key that was proven; empty: none was shown.

    Args:
        runtime: keeps which proofs were used.
        request: at the endpoint's own URL.
        token: access token that the proof must be for; empty: none.

    Raises:
        OAuthError: `invalid_dpop_proof`, or `use_dpop_nonce` with one.
        StateUnavailable: nobody can say whether it was used before.
    """
    header = wire.headers(request.scope, _WANTED).get(b"dpop")
    if header is None:
        return ""
    proof = _checked(header, request, token)
    mark = proof_key(request.snapshot.settings, proof.jkt, proof.jti, proof.expires_at)
    if not await runtime.common.once.claim([mark]):
        raise OAuthError("invalid_dpop_proof", "the proof of possession was used before", reason="ProofReplayed")
    request.audit["jkt"] = proof.jkt
    return proof.jkt


def _checked(header: str, request: Request, token: str) -> Proof:
    settings, now = request.snapshot.settings, request.now
    nonces = Nonces(request.snapshot.signing.status_key, settings.issuer)
    expected = Expected(
        url=request.url,
        now=now,
        skew=settings.clock_skew,
        nonce=lambda nonce: nonces.accepts(nonce, now, settings.clock_skew),
        method=request.method,
        token=token,
    )
    try:
        return check(header, expected)
    except ProofError as error:
        nonce = nonces.make(now) if error.reason == ProofFault.NONCE_NEEDED else ""
        raise OAuthError(error.error, str(error), reason=error.reason, nonce=nonce) from None
