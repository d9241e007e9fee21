"""Private keys that people bring: from a Secret's files to one key that fits, or to words on what would fit.

Whatever stands in the files, the outcome is a key, or a `KeyRefused` that shows nothing of it.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tailseal.domain.keys import public

FILES: Final = ("tls.key", "key.pem", "jwk.json", "jwks.json")
"""Names under which a Secret may hold the key; what is in it says which format it is."""

LARGEST: Final = 64 * 1024
"""Bytes of a file beyond which it is no key."""

MAX_RSA_BITS: Final = 4096
"""Larger keys would take longer to check and to sign with than anybody waits."""

MIN_EXPONENT: Final = 65537
"""Smallest public exponent that NIST SP 800-56B allows."""

MAX_EXPONENT: Final = 2**64 - 1
"""Largest public exponent that our own verifiers, like most, put up with."""

MAX_KEYS: Final = 100
"""Most keys that a JWKS may hold."""

_MAX_PEM: Final = 5 * 1024
_KEY_ID: Final = re.compile(r"[!-~]{1,128}")
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)
_PRIVATE_BLOCKS: Final = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_RSA_MEMBERS: Final = ("n", "e", "d", "p", "q", "dp", "dq", "qi")
_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, int]]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
}
_UNREADABLE: Final = (ValueError, TypeError, OverflowError, UnsupportedAlgorithm)
_CONVERT: Final = "convert it by `openssl pkcs8 -topk8 -nocrypt`"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class KeyRefused(Exception):  # noqa: N818 - what happened, not a fault of ours
    """The key cannot be used.

    Args:
        message: what is wrong and what would be right; never anything of the key.
        member: the field of the member of `spec.source` that it is about.
    """

    def __init__(self, message: str, member: str = "secretRef") -> None:
        super().__init__(message)
        self.member = member


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A key that was brought.

    Args:
        kid: the JWK's own, the one asked for, or the RFC 7638 thumbprint.
        algorithm: JWS algorithm it is to sign with.
        public_jwk: what to publish.
        rsa_bits: size of an RSA key.
        material: PKCS#8 PEM, not encrypted, or the handle of a key that stays where it is.
        path: the field that brought it.
    """

    kid: str
    algorithm: str
    public_jwk: Mapping[str, Any]
    rsa_bits: int | None = None
    material: bytes = field(default=b"", repr=False)
    path: str = "spec.source.import.secretRef"


@dataclass(frozen=True, slots=True)
class _Found:
    """A private key and the `kid` that it came with."""

    key: PrivateKey
    kid: str | None = None


def imported_key(files: Mapping[str, bytes], algorithm: str, key_id: str | None = None) -> ImportedKey:
    """The one private key in a Secret's files.

    Args:
        files: of the Secret, by name.
        algorithm: `spec.algorithm`.
        key_id: which key of a JWKS, or what to call a key that has no name.

    Raises:
        KeyRefused: there is none, there are several, or it does not fit.
    """
    name, content = _file(files)
    outcome = _outcome(content, algorithm, key_id)
    if isinstance(outcome, KeyRefused):
        raise KeyRefused(f"{name}: {outcome}", outcome.member)
    return outcome


# Every reconcile brings the key anew, and the full check of a large RSA key holds the event loop for 0.3 s.
@functools.lru_cache(maxsize=64)
def _outcome(content: bytes, algorithm: str, key_id: str | None) -> ImportedKey | KeyRefused:
    try:
        found = _from_json if content.lstrip().startswith(b"{") else _from_pem
        return _checked(found(content, algorithm, key_id), algorithm, key_id)
    except KeyRefused as refused:
        return KeyRefused(str(refused), refused.member)


def _file(files: Mapping[str, bytes]) -> tuple[str, bytes]:
    there = [name for name in FILES if files.get(name)]
    if not there:
        raise KeyRefused(f"the Secret has no key: store it as one of {', '.join(FILES)}")
    if len(there) > 1:
        raise KeyRefused(f"the Secret has {' and '.join(there)}: keep one of them, or nobody can tell which is meant")
    if len(files[there[0]]) > LARGEST:
        raise KeyRefused(f"{there[0]} is larger than {LARGEST // 1024} KiB: store one private key")
    return there[0], files[there[0]]


def _checked(found: _Found, algorithm: str, key_id: str | None) -> ImportedKey:
    pem = found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        jwk = public.jwk_of(found.key.public_key(), algorithm)
    except public.KeyMaterialError as error:
        raise KeyRefused(f"{error}: import a key that fits spec.algorithm, or change that") from None
    bits = None
    if isinstance(found.key, rsa.RSAPrivateKey):
        bits = check_rsa(found.key.public_key())
    kid = found.kid or key_id or jwk["kid"]
    return ImportedKey(kid, algorithm, jwk | {"kid": kid}, bits, pem)


def check_rsa(key: rsa.RSAPublicKey) -> int:
    """The size in bits of a key that is neither too large nor weak.

    Raises:
        KeyRefused: it is.
    """
    if key.key_size > MAX_RSA_BITS:
        raise KeyRefused(f"an RSA key may have {MAX_RSA_BITS} bits at most: import a smaller one")
    if key.public_numbers().e < MIN_EXPONENT:
        raise KeyRefused(f"the RSA key's public exponent is weak: make one with {MIN_EXPONENT}")
    if key.public_numbers().e > MAX_EXPONENT:
        raise KeyRefused(f"the RSA key's public exponent is too large for verifiers: make one with {MIN_EXPONENT}")
    return key.key_size


def _from_pem(content: bytes, _algorithm: str, _key_id: str | None) -> _Found:
    """The only private key among the blocks; certificates and curve parameters beside it are no harm."""
    blocks = list(_BLOCK.finditer(content))
    labels = [block[1] for block in blocks]
    if b"ENCRYPTED PRIVATE KEY" in labels or any(b"ENCRYPTED" in block[2] for block in blocks):
        raise KeyRefused(f"the key is encrypted, and nobody could be asked for its passphrase: {_CONVERT}")
    private = [block for block in blocks if block[1] in _PRIVATE_BLOCKS]
    if not private:
        raise KeyRefused(_without_private(labels))
    if len(private) > 1:
        raise KeyRefused("there are several private keys in it: keep one")
    if len(private[0][0]) > _MAX_PEM:
        raise KeyRefused(f"an RSA key may have {MAX_RSA_BITS} bits at most: import a smaller one")
    try:
        key = load_pem_private_key(private[0][0], password=None)
    except _UNREADABLE:
        raise KeyRefused(f"the private key is damaged or of an unknown kind: {_CONVERT}") from None
    if not isinstance(key, PrivateKey):
        raise KeyRefused("the key is of a kind that signs no tokens: import an RSA, P-256, P-384 or Ed25519 key")
    return _Found(key)


def _without_private(labels: Sequence[bytes]) -> str:
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        return f"the private key is not PKCS#8, PKCS#1 or SEC1: {_CONVERT}"
    if any(label in (b"PUBLIC KEY", b"RSA PUBLIC KEY", b"CERTIFICATE") for label in labels):
        return "there are only public parts in it: store the private key"
    return "there is neither a PEM private key (PKCS#8, PKCS#1, SEC1) nor a JWK nor a JWKS in it"


def _from_json(content: bytes, algorithm: str, key_id: str | None) -> _Found:
    document = _document(content)
    entry = _selected(document["keys"], key_id) if "keys" in document else document
    kid = _kid(entry)
    if kid is not None and key_id not in (None, kid):
        raise KeyRefused("the JWK has another kid: leave keyID out, or make both the same", "keyID")
    _check_purpose(entry, algorithm)
    return _Found(_private_key(entry, algorithm), kid)


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
    except _UNREADABLE:
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
