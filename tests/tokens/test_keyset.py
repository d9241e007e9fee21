"""A key verifies only with what it is for: its use, its operations, its algorithm, its strength."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from fakes.exchange import ec_key, ed_key, jwk, rsa_key
from tailseal.tokens.errors import Fault, KeySetError, TokenError
from tailseal.tokens.keyset import MAX_KEYS, parse_jwks

GOOD = jwk(rsa_key("a"), "good", "RS256")


def kids(*keys: object) -> set[str]:
    """Which of the kids `x` and `good` are usable beside a good key."""
    found = parse_jwks({"keys": [GOOD, *keys]})
    return {kid for kid in ("x", "good") if kid in found}


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (jwk(rsa_key("b"), "x", "RS256"), {"RS256"}),
        (jwk(rsa_key("b"), "x", "PS512"), {"PS512"}),
        (jwk(rsa_key("b"), "x", None), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (jwk(ec_key("b"), "x", None), {"ES256"}),
        (jwk(ec_key("b", ec.SECP384R1), "x", "ES384"), {"ES384"}),
        (jwk(ec_key("b", ec.SECP521R1), "x", None), {"ES512"}),
        (jwk(ed_key("b"), "x", "EdDSA"), {"EdDSA"}),
        (jwk(rsa_key("b"), "x", "RS256", use="sig", key_ops=["verify", "sign"]), {"RS256"}),
    ],
)
def test_algorithms_are_bound_to_a_key_when_it_is_loaded(key: dict[str, Any], algorithms: set[str]) -> None:
    keys = parse_jwks({"keys": [key]})
    for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256"):
        if alg in algorithms:
            assert keys.find("x", alg).alg == alg
        else:
            with pytest.raises(TokenError) as caught:
                keys.find("x", alg)
            assert caught.value.reason is Fault.ALGORITHM_NOT_ALLOWED


@pytest.mark.parametrize(
    "key",
    [
        jwk(rsa_key("b"), "x", "RS256", use="enc"),
        jwk(rsa_key("b"), "x", "RS256", use=7),
        jwk(rsa_key("b"), "x", "RS256", key_ops=["sign"]),
        jwk(rsa_key("b"), "x", "RS256", key_ops="verify"),
        jwk(rsa_key("b"), "x", "HS256"),
        jwk(rsa_key("b"), "x", "none"),
        jwk(rsa_key("b"), "x", "ES256"),
        jwk(rsa_key("b"), "x", "RS256", d="AQAB"),
        jwk(rsa_key("weak", 1024), "x", "RS256"),
        jwk(rsa_key("b"), "x", "RS256") | {"e": "AQ"},
        jwk(rsa_key("b"), "x", "RS256") | {"e": "Ag"},
        jwk(rsa_key("b"), "x", "RS256") | {"e": "_" * 256},
        jwk(rsa_key("b"), "x", "RS256") | {"n": "A" * 4000},
        jwk(rsa_key("b"), "x", "RS256") | {"n": "!!!!"},
        jwk(rsa_key("b"), "x", "RS256") | {"n": ""},
        jwk(rsa_key("b"), "x", "RS256") | {"n": 7},
        jwk(ec_key("b"), "x", "ES384"),
        jwk(ec_key("b"), "x", "ES256") | {"crv": "P-384"},
        jwk(ec_key("b"), "x", "ES256") | {"crv": ["P-256"]},
        jwk(ec_key("b"), "x", "ES256") | {"x": "AA"},
        jwk(ec_key("b"), "x", "ES256") | {"y": jwk(ec_key("c"), "x", "ES256")["y"]},
        jwk(ec_key("b", ec.SECP256K1), "x", None),
        {"kty": "oct", "kid": "x", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "OKP", "crv": "X25519", "kid": "x", "x": jwk(ed_key("b"), "x", None)["x"]},
        {"kty": "OKP", "crv": "Ed448", "kid": "x", "x": "A" * 76},
        {"kid": "x"},
        jwk(rsa_key("b"), None, "RS256") | {"kid": 7},
        "x",
        None,
    ],
)
def test_a_key_that_is_not_for_us_is_passed_over(key: object) -> None:
    assert kids(key) == {"good"}
    with pytest.raises(KeySetError):
        parse_jwks({"keys": [key]})


def test_of_two_keys_under_one_name_neither_is_used() -> None:
    assert kids(jwk(rsa_key("b"), "x", "RS256"), jwk(rsa_key("c"), "x", "RS256")) == {"good"}
    assert kids(jwk(rsa_key("b"), "x", "RS256"), jwk(ec_key("c"), "x", "ES256")) == {"good", "x"}


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"keys":7}', b'{"keys":[]}', b'{"keys":[],"keys":[]}', b"x" * 262_145, b"[" * 100_000],
)
def test_what_is_no_usable_set_is_an_error(document: bytes) -> None:
    with pytest.raises(KeySetError):
        parse_jwks(document)


def test_a_set_beyond_the_cap_is_refused_as_a_whole() -> None:
    with pytest.raises(KeySetError, match=str(MAX_KEYS)):
        parse_jwks({"keys": [GOOD] + [None] * MAX_KEYS})


def test_a_token_without_kid_gets_the_only_key_of_its_algorithm() -> None:
    one = parse_jwks({"keys": [jwk(rsa_key("b"), None, "RS256"), jwk(ec_key("b"), "e", "ES256")]})
    assert one.find(None, "RS256").kid is None
    assert one.find(None, "ES256").kid == "e"
    two = parse_jwks({"keys": [GOOD, jwk(rsa_key("b"), "x", "RS256")]})
    with pytest.raises(TokenError) as caught:
        two.find(None, "RS256")
    assert caught.value.reason is Fault.UNKNOWN_KEY


@pytest.mark.parametrize("kid", ["other", "GOOD", "good ", "../good", "' OR 1=1", ""])
def test_a_kid_is_compared_as_it_is(kid: str) -> None:
    with pytest.raises(TokenError) as caught:
        parse_jwks({"keys": [GOOD]}).find(kid, "RS256")
    assert caught.value.reason is Fault.UNKNOWN_KEY


_members = st.sampled_from(["kty", "kid", "alg", "use", "key_ops", "n", "e", "x", "y", "crv", "d", "k"])
_values = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=6),
    st.lists(st.text(max_size=3), max_size=2),
    st.sampled_from(
        ["RSA", "EC", "OKP", "oct", "RS256", "ES256", "EdDSA", "sig", "P-256", "Ed25519", "AQAB", GOOD["n"]]
    ),
)


@given(st.lists(st.dictionaries(_members, _values), max_size=3))
def test_no_set_raises_anything_else(keys: list[dict[str, object]]) -> None:
    try:
        document = json.dumps({"keys": keys}).encode()
        parse_jwks(document)
    except KeySetError:
        pass
