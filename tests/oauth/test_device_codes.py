"""User codes that people can type and nobody guesses, and what a device learns when it polls (RFC 8628)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import oauthclients
from tailseal.oauth import device
from tailseal.oauth.device import ALPHABET, INTERVAL, Device
from tailseal.oauth.errors import OAuthError

NOW = 1_800_000_000.0
TV = oauthclients.client("tv", type="Public", grantTypes=[device.GRANT_TYPE], redirectURIs=None)
PENDING = Device(TV.uid, "tv", ("openid",), (), NOW + device.SECONDS)


@given(st.binary(min_size=device.RANDOM_BYTES, max_size=device.RANDOM_BYTES))
def test_a_user_code_has_no_vowels_and_is_typed_in_any_way(random: bytes) -> None:
    code = device.user_code(random)
    assert set(code.replace("-", "")) <= set(ALPHABET)
    assert not set(ALPHABET) & set("AEIOUY0123456789")
    for spelled in (
        code,
        code.lower(),
        code.replace("-", ""),
        code.replace("-", " "),
        f" {code.replace(chr(45), chr(8211))} ",
    ):
        assert device.typed(spelled) == code


@pytest.mark.parametrize("text", ["", "ABCD-EFGH", "BCDF", "BCDF-GHJK-L", "BCDF-GHJ1", "x" * 1000, "BCDFGHJK\0"])
def test_what_is_no_user_code_is_none(text: str) -> None:
    assert device.typed(text) in {"", "BCDF-GHJK"} if text.endswith("\0") else device.typed(text) == ""


def test_a_device_waits_and_one_that_is_too_fast_waits_longer() -> None:
    first, error = device.polled(PENDING, TV, NOW)
    assert error
    assert (error.error, error.status) == ("authorization_pending", 400)
    hasty, error = device.polled(first, TV, NOW + 1)
    assert error
    assert error.error == "slow_down"
    assert hasty.interval == 2 * INTERVAL
    _, error = device.polled(hasty, TV, NOW + 1 + INTERVAL)
    assert error
    assert error.error == "slow_down"
    _, error = device.polled(hasty, TV, NOW + 1 + 2 * INTERVAL)
    assert error
    assert error.error == "authorization_pending"


@pytest.mark.parametrize(
    ("state", "at", "word"),
    [
        ("denied", NOW, "access_denied"),
        ("pending", NOW + device.SECONDS, "expired_token"),
        ("approved", NOW + device.SECONDS, "expired_token"),
        ("approved", NOW + 1, None),
    ],
)
def test_a_device_learns_what_became_of_it(state: device.State, at: float, word: str | None) -> None:
    kept = Device.from_bytes(Device(TV.uid, "tv", (), (), PENDING.expires_at, state=state).to_bytes())
    _, error = device.polled(kept, TV, at)
    assert (error.error if error else None) == word


def test_a_device_code_is_of_one_client() -> None:
    with pytest.raises(OAuthError, match="invalid_grant"):
        device.polled(PENDING, oauthclients.client(), NOW)


def test_only_clients_that_are_registered_for_it_have_devices() -> None:
    device.may_ask(TV)
    with pytest.raises(OAuthError, match="unauthorized_client"):
        device.may_ask(oauthclients.client())


def test_what_is_kept_outlives_the_code_so_that_its_end_can_be_told() -> None:
    kept, way = device.records(PENDING, "secret", "BCDF-GHJK")
    assert kept.expires_at == PENDING.expires_at + device.KEPT
    assert way.expires_at == PENDING.expires_at
    assert way.content == kept.digest
    assert Device.from_bytes(kept.content) == PENDING
