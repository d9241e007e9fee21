"""Private keys as JWK (RFC 7517, RFC 7518 section 6, RFC 8037), read strictly: strangers to us wrote them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tailseal.domain.keys import public
from tailseal.domain.keys.private import MAX_RSA_BITS, UNREADABLE, KeyRefused, PrivateKey

MAX_KEYS: Final = 100
"""Most keys that a JWKS may hold."""

_KEY_ID: Final = re.compile(r"[!-~]{1,128}")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_RSA_MEMBERS: Final = ("n", "e", "d", "p", "q", "dp", "dq", "qi")
_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, int]]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
}


def private_key(content: bytes, algorithm: str, key_id: str | None) -> tuple[PrivateKey, str | None]:
    """The key of a JWK, or of the entry of a JWKS that is meant, and the `kid` that it came with.

    Args:
        content: JSON.
        algorithm: `spec.algorithm`.
        key_id: which entry, or what to call a key that has no `kid`.

    Raises:
        KeyRefused: there is none, there are several, or it is not for this.
    """
    document = _document(content)
    entry = _selected(document["keys"], key_id) if "keys" in document else document
    kid = _kid(entry)
    if kid is not None and key_id not in (None, kid):
        raise KeyRefused("the JWK has another kid: leave keyID out, or make both the same", "keyID")
    _check_purpose(entry, algorithm)
    return _private_key(entry, algorithm), kid


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content.decode(), object_pairs_hook=_members)
    except (ValueError, RecursionError):
        raise KeyRefused("it is not JSON, or a member stands twice in it: store a JWK or JWKS") from None
    if not isinstance(document, dict):
        raise KeyRefused("it is not a JSON object: store a JWK or JWKS")
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member stands twice")
    return members


def _selected(entries: object, key_id: str | None) -> dict[str, Any]:
    """The key of the set that is meant: the one that is named, or the only private one."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KeyRefused("keys: a list of JWKs is needed")
    if len(entries) > MAX_KEYS:
        raise KeyRefused(f"keys: there are more than {MAX_KEYS}: keep the one to sign with")
    names = [kid for entry in entries if isinstance(kid := entry.get("kid"), str)]
    if len(set(names)) < len(names):
        raise KeyRefused("two keys of the set have the same kid: a kid has to name one key")
    meant: list[dict[str, Any]]
    if key_id is not None:
        meant = [entry for entry in entries if entry.get("kid") == key_id]
        if not meant:
            raise KeyRefused("no key of the set has this kid: name one that is there", "keyID")
    else:
        meant = [entry for entry in entries if _is_private(entry)]
        if not meant:
            raise KeyRefused("there is no private key in the set: a private JWK has the member d")
        if len(meant) > 1:
            raise KeyRefused("there are several private keys in the set: name one by its kid", "keyID")
    return meant[0]


def _is_private(entry: Mapping[str, Any]) -> bool:
    return "d" in entry or entry.get("kty") == "oct"


def _kid(entry: Mapping[str, Any]) -> str | None:
    kid = entry.get("kid")
    if kid is None:
        return None
    if not isinstance(kid, str) or not _KEY_ID.fullmatch(kid):
        raise KeyRefused("kid: must be 1 to 128 printable ASCII characters without spaces")
    return kid


def _check_purpose(entry: Mapping[str, Any], algorithm: str) -> None:
    """What the JWK says that it may be used for."""
    names = ("EdDSA", "Ed25519") if algorithm == "EdDSA" else (algorithm,)
    if entry.get("alg") is not None and entry["alg"] not in names:
        raise KeyRefused(f"alg: the JWK is for another algorithm than spec.algorithm, which is {algorithm}")
    if entry.get("use") not in (None, "sig"):
        raise KeyRefused("use: the JWK is not for signatures: sig is needed, or nothing")
    operations = entry.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "sign" in operations):
        raise KeyRefused("key_ops: the JWK may not sign: sign is needed in it, or leave it out")


def _private_key(entry: Mapping[str, Any], algorithm: str) -> PrivateKey:
    kind = entry.get("kty")
    if kind == "oct":
        raise KeyRefused("kty: a symmetric key (oct) has no public part to verify with: import a key pair")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise KeyRefused("kty: RSA, EC or OKP is needed")
    if "d" not in entry:
        raise KeyRefused("the JWK is public: a private one has the member d")
    try:
        return _KINDS[kind](entry, algorithm)
    except UNREADABLE:
        raise KeyRefused("the members of the JWK do not make up a key: export it anew") from None


def _rsa(entry: Mapping[str, Any], _algorithm: str) -> rsa.RSAPrivateKey:
    if "oth" in entry:
        raise KeyRefused("oth: keys of more than two primes are not supported: import one of two")
    n, e, d, p, q, dp, dq, qi = (int.from_bytes(_octets(entry, name, MAX_RSA_BITS // 8)) for name in _RSA_MEMBERS)
    if n.bit_length() < public.MIN_RSA_BITS:
        raise KeyRefused(f"an RSA key needs at least {public.MIN_RSA_BITS} bits: import a stronger one")
    return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n)).private_key()


def _ec(entry: Mapping[str, Any], algorithm: str) -> ec.EllipticCurvePrivateKey:
    name = entry.get("crv")
    if not isinstance(name, str) or name not in _CURVES:
        raise KeyRefused(f"crv: no curve for {algorithm}: P-256 is for ES256, P-384 for ES384")
    curve, size = _CURVES[name]
    x, y, d = (int.from_bytes(_octets(entry, member, size, exactly=True)) for member in ("x", "y", "d"))
    return ec.EllipticCurvePrivateNumbers(d, ec.EllipticCurvePublicNumbers(x, y, curve)).private_key()


def _okp(entry: Mapping[str, Any], algorithm: str) -> ed25519.Ed25519PrivateKey:
    if entry.get("crv") != "Ed25519":
        raise KeyRefused(f"crv: no curve for {algorithm}: Ed25519 is for EdDSA")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(_octets(entry, "d", 32, exactly=True))
    if key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) != _octets(entry, "x", 32, exactly=True):
        raise KeyRefused("x and d belong to different keys: export the key anew")
    return key


_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any], str], PrivateKey]]] = {"RSA": _rsa, "EC": _ec, "OKP": _okp}


def _octets(entry: Mapping[str, Any], name: str, size: int, *, exactly: bool = False) -> bytes:
    """A member's bytes (RFC 7515 section 2)."""
    text = entry.get(name)
    if not isinstance(text, str):
        _malformed(name, "is missing, or no string")
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        _malformed(name, "is not base64url without padding")
    octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(octets) > size or (exactly and len(octets) < size):
        _malformed(name, f"must have {size} bytes" + ("" if exactly else " at most"))
    return octets


def _malformed(name: str, why: str) -> NoReturn:
    raise KeyRefused(f"{name}: {why}")
