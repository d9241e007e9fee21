"""The tokens we sign: JWT access tokens by RFC 9068, or plain JWTs, always naming the policy that allowed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from tailseal.domain.policy.expressions.cel import Result
from tailseal.tokens.compact import encode
from tailseal.tokens.signers import Signer

AT_JWT: Final = "at+jwt"
PLAIN_JWT: Final = "JWT"


class Minted(NamedTuple):
    """What goes into a token; times are Unix seconds.

    Args:
        issuer: our issuer, byte for byte.
        subject: `policy:<namespace>/<name>`, or as the policy makes it; never a form used for people or nodes.
        client_id: the authenticated client, else `policy:<namespace>/<name>`.
        audiences: at least one.
        scopes: may be empty.
        issued_at: when.
        ttl: seconds it lives.
        token_id: `jti`: the decision's id, so that a token leads to its audit line.
        cnf: what the token is bound to (RFC 7800, RFC 9449 section 6); None: nothing.
        act: who acts for the subject (RFC 8693 section 4.1); None: nobody.
        claims: names and values of further claims; one that is set here is never theirs.
    """

    issuer: str
    subject: str
    client_id: str
    audiences: Sequence[str]
    scopes: Sequence[str]
    issued_at: int
    ttl: int
    token_id: str
    act: Mapping[str, Any] | None = None
    cnf: Mapping[str, Any] | None = None
    claims: Sequence[tuple[str, Result]] = ()


def mint(content: Minted, signer: Signer, typ: str) -> str:
    """Sign a token; the arguments are those of `signing_input`."""
    text = signing_input(content, signer, typ)
    return joined(text, signer.sign(text))


def joined(unsigned: bytes, signature: bytes) -> str:
    """The compact serialization (RFC 7515 section 7.1)."""
    return (unsigned + b"." + encode(signature)).decode("ascii")


def signing_input(content: Minted, signer: Signer, typ: str) -> bytes:
    """What is to be signed (RFC 7515 section 5.1).

    Args:
        content: the claims.
        signer: the issuer's active key.
        typ: `at+jwt` (RFC 9068 section 2.1) or `JWT`.
    """
    claims: dict[str, Any] = dict(content.claims)
    claims |= {
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
    if content.cnf is not None:
        claims["cnf"] = content.cnf
    if content.act is not None:
        claims["act"] = content.act
    return unsigned(claims, signer, typ)


def unsigned(claims: Mapping[str, Any], signer: Signer, typ: str) -> bytes:
    """What is to be signed for these claims; the arguments are those of `signing_input`."""
    return _header(signer.alg, signer.kid, typ) + b"." + encode(orjson.dumps(claims))


# One header a key and type, for as long as the key signs.
@lru_cache(maxsize=64)
def _header(alg: str, kid: str, typ: str) -> bytes:
    return encode(orjson.dumps({"alg": alg, "kid": kid, "typ": typ}))
