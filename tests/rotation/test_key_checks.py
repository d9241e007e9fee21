"""What keys are checked for and how often: enough for workers, and never so much that the event loop stands still."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fakes.keyfiles import key, pem
from tailseal.domain.keys import imported, public
from tailseal.domain.keys.imported import imported_key
from tailseal.domain.keys.private import KeyRefused
from tailseal.tokens.keyset import parse_jwks


def with_exponent(e: int) -> rsa.RSAPrivateKey:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    p, q = numbers.p, numbers.q
    d = pow(e, -1, (p - 1) * (q - 1))
    crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, p * q)).private_key()


def test_an_imported_key_is_checked_once_and_not_at_every_reconcile(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[bytes] = []
    load = imported.load_pem_private_key
    monkeypatch.setattr(
        imported, "load_pem_private_key", lambda *args, **kw: checks.append(args[0]) or load(*args, **kw)
    )
    material = pem(rsa.generate_private_key(65537, 2048))
    assert imported_key({"tls.key": material}, "RS256") == imported_key({"tls.key": material}, "RS256")
    assert len(checks) == 1
    for _ in range(2):
        with pytest.raises(KeyRefused, match=r"key\.pem: .*not a key for ES256"):
            imported_key({"key.pem": material}, "ES256")
    assert len(checks) == 2


def test_an_exponent_that_no_worker_could_load_is_refused() -> None:
    """One key that workers cannot load would keep every later set from them, a revocation's, too."""
    small, large = with_exponent(2**64 - 59), with_exponent(2**64 + 13)
    found = imported_key({"tls.key": pem(small)}, "RS256")
    assert parse_jwks({"keys": [dict(found.public_jwk)]}).find(found.kid, "RS256")
    with pytest.raises(KeyRefused, match="too large for verifiers"):
        imported_key({"tls.key": pem(large)}, "RS256")


def test_stored_material_that_makes_no_valid_signature_is_no_material() -> None:
    whole, other = key("RSA"), key("RSA", 1)
    assert isinstance(whole, rsa.RSAPrivateKey)
    assert isinstance(other, rsa.RSAPrivateKey)
    mine, theirs = (found.private_numbers().public_numbers.n.to_bytes(256) for found in (whole, other))
    content = whole.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).replace(mine, theirs)
    damaged = b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(content) + b"-----END PRIVATE KEY-----\n"
    with pytest.raises(public.KeyMaterialError, match="damaged"):
        public.public_jwk(damaged, "RS256")
