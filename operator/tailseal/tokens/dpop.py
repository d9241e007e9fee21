"""Proofs of possession at the token endpoint (RFC 9449): a caller shows the key that the issued token is bound to."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from tailseal.domain.keys.public import thumbprint
from tailseal.domain.policy.trust import Claims
from tailseal.tokens import compact, verify
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import KeySetError, TokenError
from tailseal.tokens.keyset import parse_jwks

MAX_PROOF_BYTES: Final = 4096
"""An RSA key of 4096 bits and its signature fit in."""

AGE_SECONDS: Final = 60
"""How old a proof may be, beside the clocks' difference (RFC 9449 section 11.1)."""

NONCE_SECONDS: Final = 300
"""How long a nonce of ours is accepted (section 8)."""

_TYPE: Final = "dpop+jwt"
_MAX_MODULUS: Final = 683
"""Characters of an RSA modulus of 4096 bits: the key is the caller's choice, and its size our work."""
_MAX_TEXT: Final = 256
_TAG_BYTES: Final = 16
_STAMP_BYTES: Final = 5
_NOTHING: Final[frozenset[str]] = frozenset()
_PORTS: Final = {"https": 443, "http": 80}


class ProofFault(StrEnum):
    """Stable reasons for which a proof is refused."""

    MISSING = "ProofMissing"
    """The grant, or a token that is bound to a key, asks for a proof, and there is none."""
    MALFORMED = "ProofMalformed"
    """Not one compact JWS of type `dpop+jwt` with the members of section 4.2."""
    KEY_NOT_ALLOWED = "ProofKeyNotAllowed"
    """`jwk` is missing, private, too weak, or not for `alg`; or `alg` is not one that we verify."""
    BAD_SIGNATURE = "ProofBadSignature"
    OTHER_REQUEST = "ProofForAnotherRequest"
    """`htm` or `htu` is not this request's."""
    OUTDATED = "ProofOutdated"
    """`iat` is too long ago, or in the future."""
    NONCE_NEEDED = "ProofNonceNeeded"
    """There is no nonce although one is needed, or it is not, or no longer, ours."""
    OTHER_KEY = "ProofOfAnotherKey"
    """A token that was presented is bound to another key."""


class ProofError(Exception):
    """The proof is refused.

    Args:
        reason: the stable word.
        message: what is wrong, without any of the proof's content.
    """

    def __init__(self, reason: ProofFault, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def error(self) -> str:
        """The OAuth error code (RFC 9449 sections 5 and 8)."""
        return "use_dpop_nonce" if self.reason is ProofFault.NONCE_NEEDED else "invalid_dpop_proof"


class Proof(NamedTuple):
    """A proof that holds for this request.

    Args:
        jkt: thumbprint of the key (RFC 7638): what goes into `cnf`.
        jti: its id, which is unique as far as its caller is honest.
        expires_at: Unix seconds after which it is refused anyway.
    """

    jkt: str
    jti: str
    expires_at: float


class Nonces:
    """Nonces that every replica accepts and none remembers: a time, and a MAC over it.

    Args:
        secret: shared by the replicas of one provider and nobody else.
        issuer: the provider's.
    """

    __slots__ = ("_issuer", "_key")

    def __init__(self, secret: bytes, issuer: str) -> None:
        self._key = hmac.digest(secret, b"tailseal DPoP nonce 1", sha256)
        self._issuer = issuer.encode()

    def make(self, now: float) -> str:
        """A nonce of this moment (Unix seconds)."""
        stamp = int(now).to_bytes(_STAMP_BYTES, "big")
        return compact.encode(stamp + self._tag(stamp)).decode()

    def accepts(self, nonce: str, now: float, skew: float) -> bool:
        """Whether a replica of ours made it, not too long ago.

        Args:
            nonce: from a proof.
            now: Unix seconds.
            skew: seconds by which the clocks of replicas may differ.
        """
        try:
            content = compact.decode(nonce.encode("ascii"))
        except (TokenError, UnicodeEncodeError):
            return False
        stamp, tag = content[:_STAMP_BYTES], content[_STAMP_BYTES:]
        if not hmac.compare_digest(tag, self._tag(stamp)):
            return False
        return -skew <= now - int.from_bytes(stamp, "big") <= NONCE_SECONDS

    def _tag(self, stamp: bytes) -> bytes:
        return hmac.digest(self._key, stamp + self._issuer, sha256)[:_TAG_BYTES]


class Expected(NamedTuple):
    """What a proof must say.

    Args:
        url: of the endpoint.
        now: Unix seconds.
        skew: seconds by which the caller's clock may differ from ours.
        nonce: whether a nonce is ours and young enough.
        nonce_needed: whether there must be one.
        method: of the request.
        token: access token that is used with it, whose hash the proof must have (`ath`, section 4.3); empty: none.
    """

    url: str
    now: float
    skew: float
    nonce: Callable[[str], bool]
    nonce_needed: bool = False
    method: str = "POST"
    token: str = ""


def check(header: str, expected: Expected) -> Proof:
    """Verify a proof (section 4.3); that it was not used before is for a guard to say.

    Args:
        header: value of the request's only header `DPoP`.
        expected: what it must say.

    Raises:
        ProofError: it does not bind anything to its key.
    """
    if len(header) > MAX_PROOF_BYTES:
        raise ProofError(ProofFault.MALFORMED, f"the proof is longer than {MAX_PROOF_BYTES} bytes")
    try:
        proof = compact.split_proof(header)
    except TokenError as error:
        raise ProofError(ProofFault.MALFORMED, str(error)) from None
    if proof.header.get("typ") != _TYPE:
        raise ProofError(ProofFault.MALFORMED, f"the proof's `typ` is not {_TYPE}")
    jwk = _verified(proof)
    _check_request(proof.payload, expected)
    return Proof(thumbprint(jwk), proof.payload["jti"], _check_freshness(proof.payload, expected))


def confirmed(*presented: Claims | None) -> frozenset[str]:
    """Thumbprints of the keys that presented tokens are bound to (section 6.1); whoever has one must prove it.

    Args:
        presented: claims of verified tokens.

    Raises:
        ProofError: a token is bound to something else, which nobody can prove here (RFC 7800 section 3.1).
    """
    found = [claims["cnf"] for claims in presented if claims is not None and "cnf" in claims]
    if not found:
        return _NOTHING
    if not all(type(cnf) is dict and type(cnf.get("jkt")) is str for cnf in found):
        raise ProofError(ProofFault.OTHER_KEY, "a presented token is bound to what cannot be proven here")
    return frozenset(cnf["jkt"] for cnf in found)


def same_place(url: str, other: str) -> bool:
    """Whether two URLs are one place, but for query and fragment (RFC 3986 sections 6.2.2 and 6.2.3)."""
    return _normal(url) == _normal(other) is not None


def _verified(proof: Compact) -> dict[str, Any]:
    """The proof's own key, which its signature verifies with."""
    jwk = proof.header.get("jwk")
    if type(jwk) is not dict or len(str(jwk.get("n", ""))) > _MAX_MODULUS:
        raise ProofError(ProofFault.KEY_NOT_ALLOWED, "the proof's `jwk` is not a public key of reasonable size")
    unnamed = {name: value for name, value in jwk.items() if name != "kid"}
    try:
        key = parse_jwks({"keys": [unnamed]}).find(None, proof.alg)
    except (KeySetError, TokenError):
        raise ProofError(ProofFault.KEY_NOT_ALLOWED, "the proof's `jwk` is no public key for its `alg`") from None
    if not key.verify(proof.signing_input, proof.signature):
        raise ProofError(ProofFault.BAD_SIGNATURE, "the signature is not the key's over this proof")
    return unnamed


def _check_request(claims: dict[str, Any], expected: Expected) -> None:
    for name in ("jti", "htm", "htu"):
        value = claims.get(name)
        if type(value) is not str or not 0 < len(value) <= (verify.MAX_TEXT if name == "htu" else _MAX_TEXT):
            raise ProofError(ProofFault.MALFORMED, f"claim `{name}` is not a text of reasonable length")
    if claims["htm"] != expected.method:
        raise ProofError(ProofFault.OTHER_REQUEST, f"claim `htm` is not {expected.method}")
    if expected.token and claims.get("ath") != compact.encode(sha256(expected.token.encode()).digest()).decode():
        raise ProofError(ProofFault.OTHER_REQUEST, "claim `ath` is not the hash of the access token")
    if not same_place(claims["htu"], expected.url):
        raise ProofError(ProofFault.OTHER_REQUEST, f"claim `htu` is not {expected.url}")


def _check_freshness(claims: dict[str, Any], expected: Expected) -> float:
    """When the proof ends to count."""
    nonce, issued_at = claims.get("nonce"), claims.get("iat")
    if nonce is None and "nonce" not in claims and expected.nonce_needed:
        raise ProofError(ProofFault.NONCE_NEEDED, "the proof needs the nonce of header DPoP-Nonce")
    if "nonce" in claims and not (type(nonce) is str and len(nonce) <= _MAX_TEXT and expected.nonce(nonce)):
        raise ProofError(ProofFault.NONCE_NEEDED, "the proof's nonce does not count: take that of header DPoP-Nonce")
    if type(issued_at) is not int:
        raise ProofError(ProofFault.MALFORMED, "claim `iat` is not a time in whole seconds")
    if not -expected.skew <= expected.now - issued_at <= AGE_SECONDS + expected.skew:
        raise ProofError(ProofFault.OUTDATED, "claim `iat` is too long ago, or in the future")
    return issued_at + AGE_SECONDS + expected.skew


_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9\-._~]")


# The endpoint is one, and so is what its callers call it.
@lru_cache(maxsize=64)
def _normal(url: str) -> tuple[str, str, int, str] | None:
    """Scheme, host, port and path in their only spelling; None for what is no http URL without credentials."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    path = _ESCAPE.sub(_escape, parts.path or "/")
    return parts.scheme, parts.hostname, port if port is not None else _PORTS[parts.scheme], _without_dots(path)


def _escape(match: re.Match[str]) -> str:
    letter = chr(int(match[0][1:], 16))
    return letter if _UNRESERVED.fullmatch(letter) else match[0].upper()


def _without_dots(path: str) -> str:
    """The path without segments `.` and `..` (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if segments[-1] in {".", ".."} and kept else "")
