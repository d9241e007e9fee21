"""Private keys that people bring: from a Secret's files to one key that fits, or to words on what would fit.

Whatever stands in the files, the outcome is a key, or a `KeyRefused` that shows nothing of it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tailseal.domain.keys import jwk, public
from tailseal.domain.keys.private import MAX_RSA_BITS, UNREADABLE, KeyRefused, PrivateKey

FILES: Final = ("tls.key", "key.pem", "jwk.json", "jwks.json")
"""Names under which a Secret may hold the key; what is in it says which format it is."""

LARGEST: Final = 64 * 1024
"""Bytes of a file beyond which it is no key."""

MIN_EXPONENT: Final = 65537
"""Smallest public exponent that NIST SP 800-56B allows."""

MAX_EXPONENT: Final = 2**64 - 1
"""Largest public exponent that our own verifiers, like most, put up with."""

_MAX_PEM: Final = 5 * 1024
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)
_PRIVATE_BLOCKS: Final = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
_CONVERT: Final = "convert it by `openssl pkcs8 -topk8 -nocrypt`"


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
        in_json = content.lstrip().startswith(b"{")
        key, kid = jwk.private_key(content, algorithm, key_id) if in_json else (_from_pem(content), None)
        return _checked(key, kid or key_id, algorithm)
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


def _checked(key: PrivateKey, kid: str | None, algorithm: str) -> ImportedKey:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        published = public.jwk_of(key.public_key(), algorithm)
    except public.KeyMaterialError as error:
        raise KeyRefused(f"{error}: import a key that fits spec.algorithm, or change that") from None
    bits = None
    if isinstance(key, rsa.RSAPrivateKey):
        bits = check_rsa(key.public_key())
    kid = kid or published["kid"]
    return ImportedKey(kid, algorithm, published | {"kid": kid}, bits, pem)


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


def _from_pem(content: bytes) -> PrivateKey:
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
    except UNREADABLE:
        raise KeyRefused(f"the private key is damaged or of an unknown kind: {_CONVERT}") from None
    if not isinstance(key, PrivateKey):
        raise KeyRefused("the key is of a kind that signs no tokens: import an RSA, P-256, P-384 or Ed25519 key")
    return key


def _without_private(labels: Sequence[bytes]) -> str:
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        return f"the private key is not PKCS#8, PKCS#1 or SEC1: {_CONVERT}"
    if any(label in (b"PUBLIC KEY", b"RSA PUBLIC KEY", b"CERTIFICATE") for label in labels):
        return "there are only public parts in it: store the private key"
    return "there is neither a PEM private key (PKCS#8, PKCS#1, SEC1) nor a JWK nor a JWKS in it"
