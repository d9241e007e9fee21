"""Keys in a real PKCS#11 token: what they sign verifies, nothing else leaves, and a lost session comes back."""

# ruff: noqa: ANN401 - keys are of many types
from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from fakes import hsm as fake
from fakes.exchange import ec_key, ed_key, jwk, rsa_key
from tailseal.domain.keys.handle import Handle
from tailseal.tokens.keyset import VerificationKey, parse_jwks
from tailseal.tokens.mint import AT_JWT, Minted, mint
from tailseal.tokens.signers import SignerError
from tailseal.tokens.signers.pkcs11 import Pkcs11Signer
from tailseal.workers.common.outbound.signing import RemoteSigning, SigningUnavailable

pytestmark = pytest.mark.skipif(fake.MISSING, reason=fake.REASON)

CONTENT = Minted("https://idp.corp.example", "policy:a/b", "policy:a/b", ("x",), (), 1_800_000_000, 300, "d1")
KEYS: dict[str, Any] = {
    "RS256": rsa_key("token"),
    "PS256": rsa_key("token"),
    "ES256": ec_key("token"),
    "ES384": ec_key("token", ec.SECP384R1),
    "EdDSA": ed_key("token"),
}


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> fake.Hsm:
    token = fake.make(tmp_path_factory.mktemp("hsm"))
    for alg in ("RS256", "ES256", "ES384", "EdDSA"):
        token.put(KEYS[alg], alg)
    token.put(ec_key("twin"), "twin")
    token.put(ec_key("other twin"), "twin")
    return token


def handle(alg: str, **changes: str) -> Handle:
    label = "RS256" if alg == "PS256" else alg
    said = {"module": str(fake.MODULE), "token_label": fake.TOKEN, "key_label": label, "pin": fake.PIN, **changes}
    return Handle(public_jwk={}, **said)


def public(key: Any, alg: str) -> VerificationKey:
    return parse_jwks({"keys": [jwk(key, "k1", alg)]}).find("k1", alg)


def signer(alg: str = "ES256", **changes: str) -> Pkcs11Signer:
    return Pkcs11Signer(handle(alg, **changes), alg, "k1", public(KEYS[alg], alg))


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # joserfc's opinion of the name (RFC 9864)
@pytest.mark.parametrize("alg", list(KEYS))
def test_a_token_minted_in_a_token_verifies_with_an_independent_library(hsm: fake.Hsm, alg: str) -> None:
    own = signer(alg)
    assert not own.proven
    found = joserfc_jwt.decode(mint(CONTENT, own, AT_JWT), import_key(jwk(KEYS[alg], "k1", alg)), algorithms=[alg])
    assert found.header == {"alg": alg, "kid": "k1", "typ": AT_JWT}
    assert found.claims["sub"] == "policy:a/b"
    assert own.proven


def test_two_keys_of_one_token_sign_side_by_side(hsm: fake.Hsm) -> None:
    one, other = signer("ES256"), signer("RS256")
    for _ in range(2):
        assert one.sign(b"x")
        assert other.sign(b"x")
    one.close()
    assert other.sign(b"x")
    assert not one.proven


def test_a_lost_session_is_opened_again(hsm: fake.Hsm) -> None:
    own = signer()
    own.sign(b"x")
    own._session.close()
    assert own.sign(b"x")
    assert own.proven


def test_a_library_that_was_started_anew_is_no_outage(hsm: fake.Hsm) -> None:
    import pkcs11  # noqa: PLC0415 - as the signer does

    own = signer()
    own.sign(b"x")
    pkcs11.lib(str(fake.MODULE)).reinitialize()
    assert own.sign(b"x")


def test_the_key_that_a_label_names_must_be_the_published_one(hsm: fake.Hsm) -> None:
    own = Pkcs11Signer(handle("ES256"), "ES256", "k1", public(ec_key("somebody"), "ES256"))
    with pytest.raises(SignerError, match="another key than is published as 'k1'"):
        own.sign(b"x")
    assert not own.proven


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"key_label": "nope"}, "no private key is named"),
        ({"key_label": "twin"}, "several private keys are named"),
        ({"token_label": "nope"}, "NoSuchToken"),
        ({"module": "/nowhere/lib.so"}, "in the worker's image"),
    ],
    ids=str,
)
def test_what_is_not_there_is_named_without_the_pin(hsm: fake.Hsm, changes: dict[str, str], text: str) -> None:
    own = signer(**changes)
    with pytest.raises(SignerError, match=text) as caught:
        own.sign(b"x")
    assert fake.PIN not in str(caught.value) + repr(own) + repr(own._handle)


def test_a_wrong_pin_is_tried_once(hsm: fake.Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    import pkcs11  # noqa: PLC0415

    pkcs11.lib(str(fake.MODULE)).reinitialize()  # nobody is logged in
    own = signer(pin="wrong")
    with pytest.raises(SignerError, match="PinIncorrect: not tried again before the PIN is changed"):
        own.sign(b"x")
    monkeypatch.setattr(pkcs11, "lib", lambda _: pytest.fail("the token was asked again"))
    with pytest.raises(SignerError, match="not tried again"):
        own.sign(b"x")


def test_a_wrong_pin_is_tried_by_one_key_only(hsm: fake.Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys of a token in three replicas would be six tries: many a token is locked by then."""
    for alg in ("ES256", "RS256", "ES256"):
        with pytest.raises(SignerError, match="PinIncorrect: not tried again before the PIN is changed"):
            signer(alg, pin="another wrong one").sign(b"x")
        monkeypatch.setattr("tailseal.tokens.signers.pkcs11._library", lambda _module: FakeLibrary())
    monkeypatch.undo()
    one = signer()
    one.sign(b"x")
    one.close()


class FakeLibrary:
    """Must not be asked to log in."""

    def get_token(self, *, token_label: str) -> FakeLibrary:
        return self

    def open(self, **_: str) -> None:
        raise AssertionError("it was tried again")


async def test_the_event_loop_goes_on_while_a_token_signs(hsm: fake.Hsm) -> None:
    remote, own, threads = RemoteSigning(), signer("RS256"), set()
    verify = own._public.verify
    own._public = type(
        "", (), {"verify": lambda _, *given: threads.add(threading.current_thread()) or verify(*given)}
    )()
    signatures = await asyncio.gather(*(remote.sign(own, b"%d" % number) for number in range(20)))
    assert len(set(signatures)) == 20
    assert len(threads) == 1
    assert threading.current_thread() not in threads


class Hanging:
    alg, kid, remote, proven = "ES256", "k1", True, False

    def __init__(self) -> None:
        self.go = threading.Event()

    def sign(self, _: bytes) -> bytes:
        self.go.wait(10)
        return b"late"

    def close(self) -> None: ...


async def test_a_token_that_hangs_costs_its_callers_patience_and_nobody_else_anything() -> None:
    remote, slow = RemoteSigning(patience=0.05, waiting=3), Hanging()
    found = await asyncio.gather(*(remote.sign(slow, b"x") for _ in range(8)), return_exceptions=True)
    reasons = [str(error) for error in found if isinstance(error, SigningUnavailable)]
    assert sorted(set(reasons)) == ["Overloaded", "SignerUnreachable"]
    assert len(reasons) == 8
    slow.go.set()
