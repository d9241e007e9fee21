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
        return _issued(joined(self.unsigned, signature), self.content, self.typ, self.call, self.audit)


Step = Outcome | NeedOnce | NeedSignature
"""What one step of the exchange comes to."""


def issue(signer: Signer, content: Minted, typ: str, call: Call, audit: Audit) -> Answered | NeedSignature:
    """The answer, if the key is here; else what has to be awaited. The arguments are those of `NeedSignature`."""
    audit["audience"] = content.audiences
    audit["kid"] = signer.kid
    if signer.remote:
        return NeedSignature(signer, content, typ, call, audit)
    return _issued(mint(content, signer, typ), content, typ, call, audit)


def _issued(token: str, content: Minted, typ: str, call: Call, audit: Audit) -> Answered:
    plain = typ == PLAIN_JWT
    access_token = "Bearer" if content.cnf is None else "DPoP"
    return granted(
        call,
        audit,
        token,
        issued_type=verify.JWT if plain else verify.ACCESS_TOKEN,
        token_type="N_A" if plain else access_token,
        expires_in=content.ttl,
        scopes=content.scopes,
    )
