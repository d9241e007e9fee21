"""Private keys in every form in which people bring them, as openssl and JOSE libraries write them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tailseal.domain.keys.public import _unsigned, base64url

Key = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | dsa.DSAPrivateKey
)

PKCS8, TRADITIONAL, OPENSSH = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL, PrivateFormat.OpenSSH


@cache
def key(kind: str, number: int = 0) -> Key:
    """A key of the kind; `number` tells several apart. Made once in a test run."""
    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    if kind in curves:
        return ec.derive_private_key(123_456_789 + number, curves[kind])
    if kind == "secp256k1":
        return ec.derive_private_key(123_456_789, ec.SECP256K1())
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([number + 1]) * 32)
    if kind == "Ed448":
        return ed448.Ed448PrivateKey.from_private_bytes(bytes(57))
    if kind == "DSA":
        return dsa.generate_private_key(2048)
    return rsa.generate_private_key(3 if kind == "RSA-e3" else 65537, 1024 if kind == "RSA-1024" else 2048)


def pem(private: Key, form: PrivateFormat = PKCS8, password: bytes = b"") -> bytes:
    encryption: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    return private.private_bytes(Encoding.PEM, form, encryption)


def public_pem(private: Key) -> bytes:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(private: Key, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a JWK may hold
    """A private JWK; a member that is None is left out."""
    found: dict[str, Any] = {**_members(private), **members}
    return {name: value for name, value in found.items() if value is not None}


def _members(private: Key) -> dict[str, str]:
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.private_numbers()
        rest = {"d": numbers.d, "p": numbers.p, "q": numbers.q}
        crt = {"dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
        both = {"n": numbers.public_numbers.n, "e": numbers.public_numbers.e, **rest, **crt}
        return {"kty": "RSA", **{name: base64url(_unsigned(number)) for name, number in both.items()}}
    if isinstance(private, ec.EllipticCurvePrivateKey):
        point, size = private.private_numbers(), (private.key_size + 7) // 8
        numbers_ = {"x": point.public_numbers.x, "y": point.public_numbers.y, "d": point.private_value}
        coordinates = {name: base64url(number.to_bytes(size)) for name, number in numbers_.items()}
        return {"kty": "EC", "crv": f"P-{private.key_size}", **coordinates}
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    secret = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public), "d": base64url(secret)}


def document(*entries: dict[str, Any]) -> bytes:
    """One JWK, or a JWKS of several (or of none)."""
    return json.dumps(entries[0] if len(entries) == 1 else {"keys": list(entries)}).encode()


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()
