"""Our tokens as they are signed: a header that says what for, and claims (RFC 7515 section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256, sha384, sha512
from typing import Any

import orjson

from tailseal.tokens.compact import encode
from tailseal.tokens.mint import joined
from tailseal.tokens.signers import Signer

ID_TOKEN_TYPE = "JWT"  # noqa: S105 - a media type


def unsigned(claims: Mapping[str, Any], signer: Signer, typ: str) -> bytes:
    """What is to be signed.

    Args:
        claims: of the token.
        signer: that will sign it.
        typ: media type of the token, so that it is taken for no other (RFC 8725 section 3.11).
    """
    header = {"alg": signer.alg, "kid": signer.kid, "typ": typ}
    return encode(orjson.dumps(header)) + b"." + encode(orjson.dumps(claims))


def half_hash(value: str, algorithm: str) -> str:
    """`at_hash` and its like: the left half of the hash that goes with the algorithm (OpenID Connect Core 3.1.3.6)."""
    digest = {"ES384": sha384, "EdDSA": sha512}.get(algorithm, sha256)(value.encode("ascii")).digest()
    return encode(digest[: len(digest) // 2]).decode()


__all__ = ["ID_TOKEN_TYPE", "half_hash", "joined", "unsigned"]
