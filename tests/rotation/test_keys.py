"""Public halves are exactly what verifiers need, by names that the RFC gives."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import import_key

from tailseal.domain.keys import jwks, public

RSA = rsa.generate_private_key(65537, 2048)
SMALL = rsa.generate_private_key(65537, 1024)
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def pem(key: PrivateKey, password: bytes = b"") -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("key", "algorithm", "members"),
    [
        (RSA, "RS256", {"kty", "n", "e"}),
        (RSA, "PS256", {"kty", "n", "e"}),
        (P256, "ES256", {"kty", "crv", "x", "y"}),
        (P384, "ES384", {"kty", "crv", "x", "y"}),
        (ED, "EdDSA", {"kty", "crv", "x"}),
    ],
)
def test_a_jwk_has_its_public_members_and_nothing_else(key: PrivateKey, algorithm: str, members: set[str]) -> None:
    jwk = public.public_jwk(pem(key), algorithm)
    assert set(jwk) == members | {"kid", "use", "alg"}
    assert (jwk["use"], jwk["alg"]) == ("sig", algorithm)
    assert jwk["kid"] == import_key({name: jwk[name] for name in members}).thumbprint()


def test_the_thumbprint_is_that_of_the_example_in_rfc_7638() -> None:
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
        "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5ha"
        "jrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert public.thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_coordinates_keep_their_leading_zeros() -> None:
    for secret in range(1, 2000):
        key = ec.derive_private_key(secret, ec.SECP256R1())
        if key.public_key().public_numbers().x < 1 << 248:
            assert len(base64.urlsafe_b64decode(public.public_jwk(pem(key), "ES256")["x"] + "=")) == 32
            return
    pytest.fail("no small coordinate found")


@pytest.mark.parametrize(
    ("content", "algorithm", "why"),
    [
        (pem(P256), "ES384", "needs a key on P-384"),
        (pem(P256), "RS256", "not a key for RS256"),
        (pem(ED), "ES256", "not a key for ES256"),
        (pem(SMALL), "RS256", "at least 2048 bits"),
        (pem(P256, b"hunter2"), "ES256", "not an unencrypted"),
        (b"garbage", "ES256", "not an unencrypted"),
        (pem(P256), "none", "not a key for none"),
    ],
)
def test_an_unfit_key_is_refused_without_being_shown(content: bytes, algorithm: str, why: str) -> None:
    with pytest.raises(public.KeyMaterialError, match=why) as caught:
        public.public_jwk(content, algorithm)
    assert "PRIVATE" not in str(caught.value)


def test_a_key_without_its_members_has_no_thumbprint() -> None:
    for jwk in ({}, {"kty": "oct", "k": "AA"}, {"kty": "EC", "crv": "P-256", "x": "AA"}):
        with pytest.raises(public.KeyMaterialError):
            public.thumbprint(jwk)


def test_a_set_is_ordered_by_id_and_repeats_nothing() -> None:
    one, two = public.public_jwk(pem(P256), "ES256"), public.public_jwk(pem(ED), "EdDSA")
    document = jwks.document([one, two, dict(one)])
    assert document == jwks.document([two, one])
    assert json.loads(document)["keys"] == sorted([one, two], key=lambda key: str(key["kid"]))


@pytest.mark.parametrize(
    ("added", "why"),
    [
        ({"kty": "EC", "kid": "a", "x": "other"}, "two different keys have the id a"),
        ({"kty": "EC", "kid": "b", "d": "secret"}, "key b has a private member"),
        ({"kty": "EC"}, "no kid"),
    ],
)
def test_a_set_that_must_not_be_published_is_refused(added: dict[str, str], why: str) -> None:
    with pytest.raises(jwks.JwksError, match=why) as caught:
        jwks.document([{"kty": "EC", "kid": "a", "x": "one"}, added])
    assert "secret" not in str(caught.value)


def test_the_full_check_of_a_private_key_is_made_once_and_nobody_can_change_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks: list[bytes] = []
    load = public.load_pem_private_key
    monkeypatch.setattr(public, "load_pem_private_key", lambda *args, **kw: checks.append(args[0]) or load(*args, **kw))
    material = pem(rsa.generate_private_key(65537, 2048))
    public.public_jwk(material, "RS256")["kid"] = "another"
    assert public.public_jwk(material, "RS256")["kid"] == public.thumbprint(public.public_jwk(material, "RS256"))
    assert checks == [material]
    with pytest.raises(public.KeyMaterialError):
        public.public_jwk(material, "ES256")
