"""What is left to do once a token of ours may be given: sign it here at once, or have it signed elsewhere first."""

from __future__ import annotations

from dataclasses import dataclass, field

from tailseal.tokens import verify
from tailseal.tokens.mint import PLAIN_JWT, Minted, joined, mint, signing_input
from tailseal.tokens.once import NeedOnce
from tailseal.tokens.outcomes import Answered, Audit, Call, Outcome, granted
from tailseal.tokens.signers import Signer


@dataclass(frozen=True, slots=True)
class NeedSignature:
    """Have `unsigned` signed by a key outside of this process, then call `finish` or `refuse`.

    Args:
        signer: the issuer's active key.
        content: what goes into the token.
        typ: `at+jwt` or `JWT`.
        call: the request.
        audit: fields gathered so far.
    """

    signer: Signer
    content: Minted
    typ: str
    call: Call = field(repr=False)
    audit: Audit

    @property
    def unsigned(self) -> bytes:
        """What is to be signed."""
        return signing_input(self.content, self.signer, self.typ)

    def is_met_by(self, other: NeedSignature) -> bool:
        """Whether what is signed for the other need is just what this one asks for, but for the moment."""
        same = self.content._replace(issued_at=0) == other.content._replace(issued_at=0)
        return same and (self.signer.kid, self.typ) == (other.signer.kid, other.typ)

    def finish(self, signature: bytes) -> Answered:
        """The answer with the token that the signature makes."""
        return _issued(self, joined(self.unsigned, signature))


Step = Outcome | NeedOnce | NeedSignature
"""What one step of the exchange comes to."""


def issue(need: NeedSignature) -> Answered | NeedSignature:
    """The answer, if the key is here; else what has to be awaited."""
    need.audit["audience"] = need.content.audiences
    need.audit["kid"] = need.signer.kid
    return need if need.signer.remote else _issued(need, mint(need.content, need.signer, need.typ))


def _issued(need: NeedSignature, token: str) -> Answered:
    plain = need.typ == PLAIN_JWT
    access_token = "Bearer" if need.content.cnf is None else "DPoP"
    return granted(
        need.call,
        need.audit,
        token,
        issued_type=verify.JWT if plain else verify.ACCESS_TOKEN,
        token_type="N_A" if plain else access_token,
        expires_in=need.content.ttl,
        scopes=need.content.scopes,
    )
