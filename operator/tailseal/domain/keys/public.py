"""Public halves of signing keys: from PKCS#8 PEM to a canonical JWK named by its RFC 7638 thumbprint."""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tailseal.domain import canonical

MIN_RSA_BITS: Final = 2048
"""RFC 7518 section 3.3."""

_CURVES: Final = {"ES256": ("P-256", ec.SECP256R1, 32), "ES384": ("P-384", ec.SECP384R1, 48)}
_RSA: Final = ("RS256", "PS256")
_PROBE: Final = b"tailseal key probe"
_THUMBPRINT: Final = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}


class KeyMaterialError(Exception):
    """The key cannot be used; says why, never shows it."""


def public_jwk(pem: bytes, algorithm: str) -> dict[str, Any]:
    """The JWK to publish: public members, `kid`, `use` and `alg`, nothing else.

    Args:
        pem: PKCS#8, not encrypted.
        algorithm: JWS algorithm it is to sign with.

    Raises:
        KeyMaterialError: unreadable, or not a key for that algorithm.
    """
    return dict(_public_jwk(pem, algorithm))


# Every reconcile asks whether all material is intact. The full check of an RSA key would hold the event loop for 0.3 s
# and is made where keys come from outside; one signature shows in 5 ms that what we stored is whole.
@functools.lru_cache(maxsize=256)
def _public_jwk(pem: bytes, algorithm: str) -> Mapping[str, Any]:
    try:
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
        if isinstance(key, rsa.RSAPrivateKey):
            _sign_and_verify(key)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise KeyMaterialError("not an unencrypted private key in PEM, or a damaged one") from error
    return jwk_of(key.public_key(), algorithm)


def _sign_and_verify(key: rsa.RSAPrivateKey) -> None:
    signature = key.sign(_PROBE, padding.PKCS1v15(), hashes.SHA256())
    key.public_key().verify(signature, _PROBE, padding.PKCS1v15(), hashes.SHA256())


def jwk_of(public: object, algorithm: str) -> dict[str, Any]:
    """The JWK to publish for a public key.

    Args:
        public: one of cryptography's public keys.
        algorithm: JWS algorithm that its private key is to sign with.

    Raises:
        KeyMaterialError: not a key for that algorithm.
    """
    if isinstance(public, rsa.RSAPublicKey) and algorithm in _RSA:
        members = _rsa_members(public)
    elif isinstance(public, ec.EllipticCurvePublicKey) and algorithm in _CURVES:
        members = _ec_members(public, algorithm)
    elif isinstance(public, ed25519.Ed25519PublicKey) and algorithm == "EdDSA":
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        members = {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw)}
    else:
        raise KeyMaterialError(f"not a key for {algorithm}")
    return members | {"kid": thumbprint(members), "use": "sig", "alg": algorithm}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638: base64url of the SHA-256 over the required members in canonical form.

    Raises:
        KeyMaterialError: an unknown `kty`, or a required member is missing.
    """
    try:
        required = {name: jwk[name] for name in _THUMBPRINT[jwk["kty"]]}
    except KeyError as error:
        raise KeyMaterialError("not a complete public key") from error
    return base64url(bytes.fromhex(canonical.digest(canonical.dumps(required)).removeprefix("sha256:")))


def base64url(content: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _rsa_members(key: rsa.RSAPublicKey) -> dict[str, Any]:
    if key.key_size < MIN_RSA_BITS:
        raise KeyMaterialError(f"an RSA key needs at least {MIN_RSA_BITS} bits")
    numbers = key.public_numbers()
    return {"kty": "RSA", "n": base64url(_unsigned(numbers.n)), "e": base64url(_unsigned(numbers.e))}


def _ec_members(key: ec.EllipticCurvePublicKey, algorithm: str) -> dict[str, Any]:
    name, curve, size = _CURVES[algorithm]
    if not isinstance(key.curve, curve):
        raise KeyMaterialError(f"{algorithm} needs a key on {name}")
    numbers = key.public_numbers()
    x, y = numbers.x.to_bytes(size), numbers.y.to_bytes(size)
    return {"kty": "EC", "crv": name, "x": base64url(x), "y": base64url(y)}


def _unsigned(number: int) -> bytes:
    """Shortest big-endian form (Base64urlUInt of RFC 7518)."""
    return number.to_bytes((number.bit_length() + 7) // 8)
