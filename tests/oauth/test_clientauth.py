"""Clients prove who they are in one way, to the letter of RFC 6749 section 2.3 and RFC 7523, or get nothing."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest

from fakes import keyfiles, oauthclients, trust
from fakes.oauthclients import ID, SECRET
from tailseal.domain.bundle.model import ClientSecret
from tailseal.domain.clients import secrets
from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import clientauth
from tailseal.oauth.clientauth import ASSERTION_TYPE, Presented, authenticate, presented
from tailseal.oauth.errors import OAuthError
from tailseal.tokens.keyset import KeySet, parse_jwks

NOW = trust.NOW
SETTINGS = trust.settings(bounds=())
PAR = f"{trust.OURS}/par"
KEY = keyfiles.key("Ed25519")
JWKS = oauthclients.jwks(KEY)
KEYS = parse_jwks(JWKS)
SIGNING = oauthclients.client(authMethod="private_key_jwt", jwks=JWKS)
PUBLIC = oauthclients.client("spa", type="Public")
SECRETIVE = oauthclients.client()
CLAIMS = {"iss": ID, "sub": ID, "aud": trust.OURS, "exp": int(NOW) + 60, "iat": int(NOW), "jti": "j1"}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def shown(claims: dict[str, Any], **header: Any) -> Presented:  # noqa: ANN401
    token = oauthclients.jwt(KEY, {"kid": "k1", **header}, claims)
    return presented(None, {"client_assertion": [token], "client_assertion_type": [ASSERTION_TYPE]})


def judge(found: Presented, client: CompiledClient | None, keys: KeySet | None = None) -> list[bytes]:
    marks = authenticate(found, client, settings=SETTINGS, endpoint=PAR, keys=keys, now=NOW)
    return [mark.digest for mark in marks]


@pytest.mark.parametrize("right", [basic(f"{ID}:{SECRET}"), "bAsIc " + basic(f"{ID}:{SECRET}")[6:]])
def test_a_secret_in_http_basic_is_taken(right: str) -> None:
    found = presented(right, {"client_id": [ID]})
    assert (found.method, found.client_id) == ("client_secret_basic", ID)
    assert judge(found, SECRETIVE) == []


def test_id_and_secret_in_http_basic_are_form_urlencoded() -> None:
    found = presented(basic("my%2Dapp+1:a%3Ab%25%2B"), {})
    assert (found.client_id, found.secret) == ("my-app 1", "a:b%+")


def test_a_secret_in_the_form_is_taken() -> None:
    assert judge(presented(None, {"client_id": [ID], "client_secret": [SECRET]}), SECRETIVE) == []


def test_a_public_client_only_says_who_it_is() -> None:
    assert judge(presented(None, {"client_id": ["spa"]}), PUBLIC) == []


def test_no_secret_is_shown() -> None:
    assert SECRET not in repr(presented(basic(f"{ID}:{SECRET}"), {}))


TWO_WAYS = {
    "basic and form": (basic(f"{ID}:{SECRET}"), {"client_secret": [SECRET]}),
    "basic and assertion": (basic(f"{ID}:{SECRET}"), {"client_assertion": ["x"]}),
    "form and assertion": (None, {"client_id": [ID], "client_secret": [SECRET], "client_assertion_type": ["x"]}),
    "another id": (basic(f"{ID}:{SECRET}"), {"client_id": ["other"]}),
}


@pytest.mark.parametrize("case", TWO_WAYS.values(), ids=TWO_WAYS)
def test_two_ways_at_once_are_refused(case: tuple[str | None, dict[str, list[str]]]) -> None:
    with pytest.raises(OAuthError) as refused:
        presented(*case)
    assert (refused.value.error, refused.value.status) == ("invalid_request", 400)


MALFORMED = {
    "nothing": (None, {}),
    "another scheme": ("Bearer abc", {}),
    "not base64": ("Basic !!!", {}),
    "no colon": (basic("abc"), {}),
    "no id": (basic(":abc"), {}),
    "a broken escape": (basic("a%zz:b"), {}),
    "beyond ASCII": (basic("ä:b"), {}),
    "no JWT": (None, {"client_assertion": ["x"], "client_assertion_type": [ASSERTION_TYPE]}),
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_proof_is_refused(case: tuple[str | None, dict[str, list[str]]]) -> None:
    with pytest.raises(OAuthError) as refused:
        presented(*case)
    assert (refused.value.error, refused.value.status) == ("invalid_client", 401)
    assert refused.value.basic == (case[0] is not None)


def test_whatever_is_wrong_the_answer_is_the_same() -> None:
    shown_ = presented(basic(f"{ID}:wrong"), {})
    refusals = []
    for client in (None, SECRETIVE, PUBLIC, SIGNING):
        with pytest.raises(OAuthError) as refused:
            judge(shown_, client)
        error = refused.value
        refusals.append((error.error, error.status, error.reason, error.description, error.basic))
    assert len(set(refusals)) == 1


def test_the_same_work_is_done_for_a_client_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = secrets.is_right

    def counted(client_id: str, secret: str, known: Iterable[ClientSecret], now: float) -> bool:
        entries = list(known)
        asked.append(len(entries))
        return real(client_id, secret, entries, now)

    monkeypatch.setattr(secrets, "is_right", counted)
    for client in (None, SECRETIVE):
        with pytest.raises(OAuthError):
            judge(presented(basic(f"{ID}:wrong"), {}), client)
    assert asked == [1, 1]


NOT_ITS_WAY = {
    "confidential, nothing": (presented(None, {"client_id": [ID]}), SECRETIVE),
    "public, with a secret": (presented(basic("spa:"), {}), PUBLIC),
    "form where basic is registered": (
        presented(None, {"client_id": [ID], "client_secret": [SECRET]}),
        oauthclients.client(authMethod="client_secret_basic"),
    ),
    "basic where form is registered": (
        presented(basic(f"{ID}:{SECRET}"), {}),
        oauthclients.client(authMethod="client_secret_post"),
    ),
    "secret where a key is registered": (presented(basic(f"{ID}:{SECRET}"), {}), SIGNING),
    "key where a secret is registered": (shown(CLAIMS), SECRETIVE),
}


@pytest.mark.parametrize("case", NOT_ITS_WAY.values(), ids=NOT_ITS_WAY)
def test_a_client_proves_itself_as_it_is_registered_to(case: tuple[Presented, CompiledClient]) -> None:
    with pytest.raises(OAuthError, match="no such client"):
        judge(*case, KEYS)


@pytest.mark.parametrize("audience", [trust.OURS, f"{trust.STS}/token", PAR, [trust.OURS, PAR]])
def test_an_assertion_for_us_is_taken(audience: object) -> None:
    assert len(judge(shown(CLAIMS | {"aud": audience}), SIGNING, KEYS)) == 1


@pytest.mark.parametrize("typ", ["JWT", "jwt", "client-authentication+jwt"])
def test_an_assertion_may_say_what_it_is(typ: str) -> None:
    assert judge(shown(CLAIMS, typ=typ), SIGNING, KEYS)


def test_assertions_of_different_ids_leave_different_marks() -> None:
    marks = [judge(shown(CLAIMS | {"jti": jti}), SIGNING, KEYS) for jti in ("a", "b", "a")]
    assert marks[0] == marks[2] != marks[1]


WRONG = {
    "of another issuer": (CLAIMS | {"iss": "other"}, {}),
    "for another service": (CLAIMS | {"aud": "https://other.example"}, {}),
    "for us and another service": (CLAIMS | {"aud": [trust.OURS, "https://other.example"]}, {}),
    "expired": (CLAIMS | {"exp": int(NOW) - 61}, {}),
    "without end": ({k: v for k, v in CLAIMS.items() if k != "exp"}, {}),
    "too long": (CLAIMS | {"exp": int(NOW) + 2 * 3600}, {}),
    "from the future": (CLAIMS | {"iat": int(NOW) + 120}, {}),
    "not yet": (CLAIMS | {"nbf": int(NOW) + 120}, {}),
    "without id": ({k: v for k, v in CLAIMS.items() if k != "jti"}, {}),
    "id of another type": (CLAIMS | {"jti": 5}, {}),
    "time as text": (CLAIMS | {"exp": str(int(NOW) + 60)}, {}),
    "a proof of possession": (CLAIMS, {"typ": "dpop+jwt"}),
    "an access token": (CLAIMS, {"typ": "at+jwt"}),
    "of an unknown key": (CLAIMS, {"kid": "k2"}),
    "of another algorithm": (CLAIMS, {"alg": "ES256"}),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_an_assertion_with_anything_wrong_is_refused(case: tuple[dict[str, Any], dict[str, Any]]) -> None:
    with pytest.raises(OAuthError, match="no such client"):
        judge(shown(case[0], **case[1]), SIGNING, KEYS)


def test_an_assertion_by_another_key_is_refused() -> None:
    other = parse_jwks(oauthclients.jwks(keyfiles.key("Ed25519", 1)))
    with pytest.raises(OAuthError, match="no such client"):
        judge(shown(CLAIMS), SIGNING, other)


def test_an_assertion_without_iat_is_taken() -> None:
    assert judge(shown({k: v for k, v in CLAIMS.items() if k != "iat"}), SIGNING, KEYS)


def test_keys_are_those_of_the_client() -> None:
    source = clientauth.key_source(SIGNING)
    assert source
    assert (source.kind, source.issuer) == ("jwks", ID)
    fetched = clientauth.key_source(
        oauthclients.client(authMethod="private_key_jwt", jwksURI="https://app.example/jwks")
    )
    assert fetched
    assert (fetched.kind, fetched.location) == ("jwksURI", "https://app.example/jwks")
    assert clientauth.key_source(SECRETIVE) is None


def test_keys_of_a_client_count_until_their_expiry_and_no_longer() -> None:
    def signing(expire_at: float) -> CompiledClient:
        return dataclasses.replace(SIGNING, jwks_expire_at=expire_at)

    assert judge(shown(CLAIMS), signing(NOW + 1), KEYS)
    with pytest.raises(OAuthError, match="invalid_client"):
        judge(shown(CLAIMS), signing(NOW), KEYS)
    source = clientauth.key_source(signing(NOW))
    assert source is not None
    assert source.expires_at == NOW
