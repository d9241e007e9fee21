"""What counts once is asked for after the decision and before anything is given, by a mark of its own."""

from __future__ import annotations

import pytest

from fakes import exchange
from fakes.exchange import NOW, OURS, SETTINGS
from tailseal.domain.policy.source import KeySource
from tailseal.tokens import compact
from tailseal.tokens.once import MARGIN, token_key

SOURCE = KeySource("https://ci.example", "discovery", "https://ci.example/.well-known/openid-configuration")


def key(source: KeySource = SOURCE, issuer: str = OURS, **claims: object) -> bytes:
    settings = SETTINGS.model_copy(update={"issuer": issuer})
    return token_key(settings, source, compact.split(exchange.token(exchange.claims(**claims)))).digest


def test_tokens_of_one_id_are_one_token_however_they_are_signed() -> None:
    assert key(jti="a") == key(jti="a", iat=int(NOW) - 20)
    assert key(jti="a") != key(jti="b")


@pytest.mark.parametrize("jti", [None, "", 7, ["a"]])
def test_a_token_without_a_usable_id_is_told_by_what_was_signed(jti: object) -> None:
    assert key(jti=jti) == key(jti=jti)
    assert key(jti=jti) != key(jti=jti, iat=int(NOW) - 20)


@pytest.mark.parametrize(
    "other",
    [
        KeySource("https://ci.example", "jwksURI", SOURCE.location),
        KeySource("https://ci.example", "discovery", "https://attacker.example/"),
        KeySource("https://ci.example", "discovery", SOURCE.location, "sha256:another"),
    ],
)
def test_nobody_with_keys_of_his_own_uses_up_what_another_s_issuer_gives(other: KeySource) -> None:
    assert key(other, jti="a") != key(jti="a")


def test_providers_that_share_a_database_do_not_meet() -> None:
    assert key(jti="a") != key(issuer="https://other.example", jti="a")


def test_a_mark_outlives_its_token_by_the_most_that_clocks_may_differ() -> None:
    token = compact.split(exchange.token())
    assert token_key(SETTINGS, SOURCE, token).expires_at == token.payload["exp"] + MARGIN
    assert token_key(SETTINGS.model_copy(update={"clock_skew": 1}), SOURCE, token) == token_key(SETTINGS, SOURCE, token)


def test_an_id_that_is_no_text_of_unicode_breaks_nothing() -> None:
    assert key(jti="\udc80x".encode("utf-16", "surrogatepass").hex()) != key(jti="a")
