"""The tokens we sign: JWT access tokens by RFC 9068, or plain JWTs, always naming the policy that allowed them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from tailseal.tokens.compact import encode
from tailseal.tokens.signers import Signer

AT_JWT: Final = "at+jwt"
PLAIN_JWT: Final = "JWT"


class Minted(NamedTuple):
    """What goes into a token; times are Unix seconds.

    Args:
        issuer: our issuer, byte for byte.
        subject: `policy:<namespace>/<name>`; never a form used for people or nodes.
        client_id: the authenticated client, else the subject.
        audiences: at least one.
        scopes: may be empty.
        issued_at: when.
        ttl: seconds it lives.
        token_id: `jti`: the decision's id, so that a token leads to its audit line.
    """

    issuer: str
    subject: str
    client_id: str
    audiences: Sequence[str]
    scopes: Sequence[str]
    issued_at: int
    ttl: int
    token_id: str


def mint(content: Minted, signer: Signer, typ: str) -> str:
    """Sign a token.

    Args:
        content: the claims.
        signer: the issuer's active key.
        typ: `at+jwt` (RFC 9068 section 2.1) or `JWT`.
    """
    claims = {
        "iss": content.issuer,
        "sub": content.subject,
        "aud": content.audiences[0] if len(content.audiences) == 1 else content.audiences,
        "client_id": content.client_id,
        "iat": content.issued_at,
        "exp": content.issued_at + content.ttl,
        "jti": content.token_id,
    }
    if content.scopes:
        claims["scope"] = " ".join(content.scopes)
    signing_input = _header(signer.alg, signer.kid, typ) + b"." + encode(orjson.dumps(claims))
    return (signing_input + b"." + encode(signer.sign(signing_input))).decode("ascii")


# One header a key and type, for as long as the key signs.
@lru_cache(maxsize=64)
def _header(alg: str, kid: str, typ: str) -> bytes:
    return encode(orjson.dumps({"alg": alg, "kid": kid, "typ": typ}))
