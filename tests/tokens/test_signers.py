"""What we sign with verifies elsewhere, fits its algorithm, and never shows itself."""

# ruff: noqa: ANN401 - keys, claims and cases are of many types
from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from fakes.exchange import ec_key, ed_key, jwk, rsa_key
from tailseal.tokens import compact
from tailseal.tokens.mint import AT_JWT, PLAIN_JWT, Minted, mint
from tailseal.tokens.signers import LocalSigner, SignerError

PAIRS: list[tuple[Any, str]] = [
    (rsa_key("s"), "RS256"),
    (rsa_key("s"), "PS256"),
    (ec_key("s"), "ES256"),
    (ec_key("s", ec.SECP384R1), "ES384"),
    (ed_key("s"), "EdDSA"),
]
CONTENT = Minted("https://idp.corp.example", "policy:a/b", "policy:a/b", ("x",), ("read",), 1_800_000_000, 300, "d1")


def pem(key: Any, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8) -> bytes:
    encoded: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return encoded


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # joserfc's opinion of the name (RFC 9864)
@pytest.mark.parametrize(("key", "alg"), PAIRS)
@pytest.mark.parametrize("typ", [AT_JWT, PLAIN_JWT])
def test_what_is_minted_verifies_with_an_independent_library(key: Any, alg: str, typ: str) -> None:
    token = mint(CONTENT, LocalSigner.from_pem(pem(key), alg, "k1"), typ)
    found = joserfc_jwt.decode(token, import_key(jwk(key, "k1", alg)), algorithms=[alg])
    assert found.header == {"alg": alg, "kid": "k1", "typ": typ}
    assert found.claims == {
        "iss": "https://idp.corp.example",
        "sub": "policy:a/b",
        "client_id": "policy:a/b",
        "aud": "x",
        "scope": "read",
        "iat": 1_800_000_000,
        "exp": 1_800_000_300,
        "jti": "d1",
    }


def test_several_audiences_are_a_list_and_no_scope_is_no_claim() -> None:
    signer = LocalSigner(ec_key("s"), "ES256", "k1")
    content = compact.split(mint(CONTENT._replace(audiences=("x", "y"), scopes=()), signer, AT_JWT)).payload
    assert content["aud"] == ["x", "y"]
    assert "scope" not in content


def test_every_signature_of_ecdsa_has_its_fixed_width() -> None:
    signer = LocalSigner(ec_key("s"), "ES256", "k1")
    assert {len(signer.sign(b"%d" % n)) for n in range(600)} == {64}


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (rsa_key("s"), "ES256"),
        (ec_key("s"), "ES384"),
        (ec_key("s"), "RS256"),
        (ed_key("s"), "ES256"),
        (rsa_key("weak", 1024), "RS256"),
        (ec_key("s", ec.SECP521R1), "ES512"),
        (rsa_key("s"), "HS256"),
        (rsa_key("s"), "none"),
    ],
)
def test_a_key_that_does_not_fit_its_algorithm_is_refused(key: Any, alg: str) -> None:
    with pytest.raises(SignerError):
        LocalSigner.from_pem(pem(key), alg, "k1")


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_private_key_is_refused_without_repeating_it(content: bytes) -> None:
    with pytest.raises(SignerError, match="not an unencrypted PEM private key") as caught:
        LocalSigner.from_pem(content, "ES256", "k1")
    assert caught.value.__suppress_context__


def test_an_encrypted_key_is_refused() -> None:
    encrypted = ec_key("s").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(SignerError):
        LocalSigner.from_pem(encrypted, "ES256", "k1")


def test_a_signer_shows_its_name_and_nothing_else() -> None:
    signer = LocalSigner.from_pem(pem(ec_key("s"), serialization.PrivateFormat.TraditionalOpenSSL), "ES256", "k1")
    assert repr(signer) == "LocalSigner(alg='ES256', kid='k1')"
    assert not hasattr(signer, "__dict__")
