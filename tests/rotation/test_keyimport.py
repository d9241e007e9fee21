"""Keys that people bring: every usual form is read, every unfit one is refused by name and never shown."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.keyfiles import OPENSSH, TRADITIONAL, document, jwk, key, key_set, pem, public_pem
from tailseal.domain.keys import public
from tailseal.domain.keys.imported import FILES, LARGEST, ImportedKey, imported_key
from tailseal.domain.keys.private import KeyRefused

EC, EC2, P384, ED, RSA = key("P-256"), key("P-256", 1), key("P-384"), key("Ed25519"), key("RSA")
CURVE = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
PRINT = public.public_jwk(pem(EC), "ES256")["kid"]

GOOD: dict[str, tuple[bytes, str, str | None, str | None]] = {
    "PKCS#8 on P-256": (pem(EC), "ES256", None, PRINT),
    "PKCS#8 on P-384": (pem(P384), "ES384", None, None),
    "PKCS#8 with Ed25519": (pem(ED), "EdDSA", None, None),
    "PKCS#8 with RSA": (pem(RSA), "RS256", None, None),
    "PKCS#1": (pem(RSA, TRADITIONAL), "PS256", None, None),
    "SEC1": (pem(EC, TRADITIONAL), "ES256", None, PRINT),
    "SEC1 after its parameters, as `openssl ecparam -genkey` writes it": (
        CURVE + pem(EC, TRADITIONAL),
        "ES256",
        None,
        PRINT,
    ),
    "PEM with attributes before and its public half behind": (
        b"Bag Attributes\n  x: y\n" + pem(EC) + public_pem(EC),
        "ES256",
        None,
        PRINT,
    ),
    "PEM with Windows line ends": (pem(EC).replace(b"\n", b"\r\n"), "ES256", None, PRINT),
    "PEM with a name of its own": (pem(EC), "ES256", "corp-1", "corp-1"),
    "a JWK that keeps its kid": (document(jwk(EC, kid="https://a.example/1")), "ES256", None, "https://a.example/1"),
    "a JWK without a kid": (document(jwk(EC)), "ES256", None, PRINT),
    "a JWK without a kid, named": (document(jwk(EC)), "ES256", "corp-1", "corp-1"),
    "a JWK named as it is": (document(jwk(EC, kid="a", use="sig", alg="ES256")), "ES256", "a", "a"),
    "a JWK for RSA": (document(jwk(RSA, kid="r", key_ops=["sign"])), "RS256", None, "r"),
    "a JWK for P-384": (document(jwk(P384)), "ES384", None, None),
    "a JWK for Ed25519": (document(jwk(ED, alg="EdDSA")), "EdDSA", None, None),
    "a JWK for Ed25519 by its newer name": (document(jwk(ED, alg="Ed25519")), "EdDSA", None, None),
    "a JWKS with one key": (key_set(jwk(EC, kid="a")), "ES256", None, "a"),
    "a JWKS with one private key beside public ones": (
        key_set(jwk(EC2, kid="old", d=None), jwk(EC, kid="a")),
        "ES256",
        None,
        "a",
    ),
    "a JWKS of several, one of them named": (key_set(jwk(RSA, kid="r"), jwk(EC, kid="a")), "ES256", "a", "a"),
}


@pytest.mark.parametrize("name", GOOD)
def test_it_is_read(name: str) -> None:
    content, algorithm, key_id, kid = GOOD[name]
    found = imported_key({"tls.key": content, "tls.crt": b"ignored"}, algorithm, key_id)
    assert found.kid == found.public_jwk["kid"]
    assert kid in (None, found.kid)
    assert found.algorithm == found.public_jwk["alg"] == algorithm
    assert (found.rsa_bits == 2048) is algorithm.endswith("S256") if found.rsa_bits else True
    load_pem_private_key(found.material, None)
    assert public.thumbprint(public.public_jwk(found.material, algorithm)) == public.thumbprint(found.public_jwk)
    assert not {"d", "p", "q", "dp", "dq", "qi"} & found.public_jwk.keys()
    assert "PRIVATE" not in repr(found)


BAD: dict[str, tuple[bytes, str, str | None, str]] = {
    "an encrypted PKCS#8": (pem(EC, password=b"hunter2"), "ES256", None, "encrypted.*openssl pkcs8 -topk8 -nocrypt"),
    "an encrypted PKCS#1": (pem(RSA, TRADITIONAL, b"hunter2"), "RS256", None, "encrypted"),
    "a public PEM": (public_pem(EC), "ES256", None, "only public parts"),
    "an OpenSSH key": (pem(ED, OPENSSH), "EdDSA", None, "not PKCS#8, PKCS#1 or SEC1.*openssl"),
    "a DSA key": (pem(key("DSA")), "ES256", None, "signs no tokens"),
    "two private keys": (pem(EC) + pem(EC2), "ES256", None, "several private keys"),
    "the same key twice": (pem(EC) + pem(EC), "ES256", None, "several private keys"),
    "a truncated PEM": (pem(EC)[:100], "ES256", None, "neither a PEM private key"),
    "a damaged PEM": (pem(EC)[:60] + pem(EC)[80:], "ES256", None, "damaged"),
    "an EC key for RS256": (pem(EC), "RS256", None, "not a key for RS256.*or change that"),
    "an RSA key for ES256": (pem(RSA), "ES256", None, "not a key for ES256"),
    "the wrong curve": (pem(P384), "ES256", None, "ES256 needs a key on P-256"),
    "another wrong curve": (pem(key("P-521")), "ES384", None, "ES384 needs a key on P-384"),
    "a curve of its own": (pem(key("secp256k1")), "ES256", None, "ES256 needs a key on P-256"),
    "an Ed448 key": (pem(key("Ed448")), "EdDSA", None, "signs no tokens"),
    "a short RSA key": (pem(key("RSA-1024")), "RS256", None, "at least 2048 bits"),
    "a weak exponent": (pem(key("RSA-e3")), "RS256", None, "exponent is weak"),
    "nothing of the kind": (b"hello canary", "ES256", None, "neither a PEM private key"),
    "no JSON": (b'{"kty": canary', "ES256", None, "not JSON"),
    "JSON too deep": (b'{"a":' * 9_000, "ES256", None, "not JSON"),
    "a member twice": (b'{"kty":"EC","kty":"RSA"}', "ES256", None, "stands twice"),
    "no JWK": (b"{}", "ES256", None, "kty: RSA, EC or OKP"),
    "a symmetric JWK": (document({"kty": "oct", "k": "canary"}), "ES256", None, "symmetric"),
    "a public JWK": (document(jwk(EC, d=None)), "ES256", None, "is public"),
    "a JWK for another algorithm": (document(jwk(RSA, alg="PS256")), "RS256", None, "alg: .*which is RS256"),
    "a JWK of the wrong curve": (document(jwk(P384)), "ES256", None, "needs a key on P-256"),
    "a JWK of an unknown curve": (document(jwk(EC, crv="canary")), "ES256", None, "crv: no curve for ES256"),
    "a JWK for encryption": (document(jwk(EC, use="enc")), "ES256", None, "use: "),
    "a JWK that only verifies": (document(jwk(EC, key_ops=["verify"])), "ES256", None, "key_ops: "),
    "a JWK whose halves differ": (document(jwk(EC, d=jwk(EC2)["d"])), "ES256", None, "do not make up a key"),
    "an Ed25519 JWK whose halves differ": (document(jwk(ED, x=jwk(key("Ed25519", 1))["x"])), "EdDSA", None, "x and d"),
    "an RSA JWK whose parts differ": (document(jwk(RSA, p=jwk(RSA)["q"])), "RS256", None, "do not make up a key"),
    "an RSA JWK without its primes": (document(jwk(RSA, p=None)), "RS256", None, "p: is missing"),
    "an RSA JWK of three primes": (document(jwk(RSA, oth=[])), "RS256", None, "oth: "),
    "a short RSA JWK": (document(jwk(key("RSA-1024"))), "RS256", None, "at least 2048 bits"),
    "an RSA JWK beyond measure": (document(jwk(RSA, n="A" * 20_000)), "RS256", None, "n: must have 512 bytes at most"),
    "a coordinate too short": (document(jwk(EC, x="AAAA")), "ES256", None, "x: must have 32 bytes"),
    "padding": (document(jwk(EC, x="AA==")), "ES256", None, "x: is not base64url without padding"),
    "a kid with spaces": (document(jwk(EC, kid="a b")), "ES256", None, "kid: must be"),
    "a kid that is a number": (document(jwk(EC, kid=5)), "ES256", None, "kid: must be"),
    "a kid beyond measure": (document(jwk(EC, kid="k" * 129)), "ES256", None, "kid: must be"),
    "a JWK by another name": (document(jwk(EC, kid="a")), "ES256", "b", "has another kid"),
    "a set without a list": (b'{"keys": {}}', "ES256", None, "keys: a list"),
    "an empty set": (key_set(), "ES256", None, "no private key in the set"),
    "a set of public keys": (key_set(jwk(EC, d=None)), "ES256", None, "no private key in the set"),
    "a set of several": (
        key_set(jwk(EC, kid="a"), jwk(EC2, kid="b")),
        "ES256",
        None,
        "several private keys in the set",
    ),
    "a set with a kid twice": (key_set(jwk(EC, kid="a"), jwk(EC2, kid="a")), "ES256", "a", "the same kid"),
    "a set without the named one": (key_set(jwk(EC, kid="a")), "ES256", "b", "no key of the set has this kid"),
    "a set without end": (key_set(*[{}] * 101), "ES256", None, "more than 100"),
    "a file beyond measure": (b" " * LARGEST + pem(EC), "ES256", None, "larger than 64 KiB"),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_refused_with_a_remedy_and_never_shown(name: str) -> None:
    content, algorithm, key_id, why = BAD[name]
    with pytest.raises(KeyRefused, match=why) as caught:
        imported_key({"jwk.json": content}, algorithm, key_id)
    text = str(caught.value)
    assert "jwk.json" in text
    secrets = [jwk(private)["d"] for private in (EC, EC2, P384, ED, RSA)]
    assert not [part for part in ("canary", "hunter2", *secrets) if part in text]
    assert caught.value.__cause__ is None


def test_what_is_wrong_with_the_name_is_said_of_the_name() -> None:
    for content in (key_set(jwk(EC, kid="a")), document(jwk(EC, kid="a"))):
        with pytest.raises(KeyRefused) as caught:
            imported_key({"jwks.json": content}, "ES256", "b")
        assert caught.value.member == "keyID"


def test_the_file_must_be_one_that_is_known_and_the_only_one() -> None:
    for files in ({}, {"id_rsa": pem(EC)}, {"tls.key": b""}):
        with pytest.raises(KeyRefused, match=r"store it as one of tls\.key, key\.pem, jwk\.json, jwks\.json"):
            imported_key(files, "ES256")
    with pytest.raises(KeyRefused, match=r"has tls\.key and jwk\.json"):
        imported_key({"tls.key": pem(EC), "jwk.json": document(jwk(EC))}, "ES256")
    for name in FILES:
        assert imported_key({name: pem(EC)}, "ES256").kid == PRINT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BASES = [jwk(private, kid="a") for private in (EC, P384, ED, RSA)]
ALGORITHMS = st.sampled_from(["RS256", "PS256", "ES256", "ES384", "EdDSA"])


def tried(content: bytes, algorithm: str, key_id: str | None = None) -> ImportedKey | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd curves, say: what counts is the outcome
        try:
            return imported_key({"key.pem": content}, algorithm, key_id)
        except KeyRefused:
            return None


@given(st.binary(max_size=200), ALGORITHMS)
def test_no_bytes_whatever_surprise_it(content: bytes, algorithm: str) -> None:
    tried(content, algorithm)
    for label in (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"):
        tried(b"-----BEGIN " + label + b"-----\n" + content + b"\n-----END " + label + b"-----\n", algorithm)


@given(st.sampled_from([pem(EC), pem(ED), pem(EC, TRADITIONAL)]), st.data(), ALGORITHMS)
def test_no_damage_to_a_pem_surprises_it(content: bytes, data: st.DataObject, algorithm: str) -> None:
    at = data.draw(st.integers(0, len(content) - 1))
    tried(content[:at] + data.draw(st.binary(max_size=3)) + content[at + data.draw(st.integers(0, 5)) :], algorithm)


@settings(deadline=None)  # RSA keys are checked thoroughly
@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from([*"kndexypq", "kty", "crv", "kid", "dp", "alg"]), JSON))
def test_no_jwk_surprises_it(base: dict[str, Any], changes: dict[str, Any]) -> None:
    for algorithm in ("RS256", "ES256", "ES384", "EdDSA"):
        found = tried(json.dumps(base | changes).encode(), algorithm)
        assert found is None or not {"d", "p"} & found.public_jwk.keys()


@given(JSON, st.none() | st.text(max_size=3))
def test_no_set_surprises_it(entries: object, key_id: str | None) -> None:
    tried(json.dumps({"keys": entries}).encode(), "ES256", key_id)
