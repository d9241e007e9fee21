"""Whatever parameters come: never a fault of ours, never a place that nobody registered, never a code for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import idp, oauthclients
from fakes.idp import CALLBACK, Provider, authorization

APP = oauthclients.record(
    scopes=["openid", "profile", "email", "groups", "offline_access"], allow={"users": ["*@corp.example"]}
)
RIGHT = list(authorization(nonce="n").items())
NAMES = [
    *dict(RIGHT),
    *("prompt", "max_age", "response_mode", "claims", "resource", "request", "request_uri", "registration", "display"),
    *("login_hint", "id_token_hint", "dpop_jkt", "acr_values", "ui_locales", "grant_type", "code", "refresh_token"),
    *("code_verifier", "client_secret", "client_assertion", "client_assertion_type", "device_code", "token", "x"),
]
VALUES = st.one_of(
    st.text(max_size=40),
    st.sampled_from([
        *(value for _, value in RIGHT),
        *("none", "login", "consent", "0", "-1", "form_post", "fragment", "{}", '{"id_token":null}', "https://evil.example"),
        *("authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"),
        *("urn:ietf:params:oauth:grant-type:token-exchange", "a.b.c", "openid openid", "javascript:alert(1)"),
        CALLBACK + "/..//evil.example",
    ]),
)  # fmt: skip
CHANGES = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5)


class House:
    """A provider on a loop of its own, for tests that hypothesis calls many times."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._running = idp.running(folder, APP)
        self.provider: Provider = self.loop.run_until_complete(self._running.__aenter__())
        self.ana = self.provider.browser()
        self.loop.run_until_complete(self.ana.login())

    def close(self) -> None:
        self.loop.run_until_complete(self._running.__aexit__(None, None, None))
        self.loop.close()

    def send(self, method: str, path: str, pairs: list[tuple[str, str]], **more: str) -> httpx.Response:
        text = urlencode(pairs, errors="surrogatepass")
        if method == "GET":
            return self.loop.run_until_complete(self.ana.http.get(f"{path}?{text}", headers=more))
        headers = {"content-type": "application/x-www-form-urlencoded"} | more
        return self.loop.run_until_complete(self.ana.http.post(path, content=text, headers=headers))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.close()


# One house will do for all examples; and no test asserts speed.
WHATEVER = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=150, deadline=None, suppress_health_check=WHATEVER)
@given(changes=CHANGES, keep=st.booleans(), method=st.sampled_from(["GET", "POST"]))
def test_an_authorization_request_leads_nowhere_else(
    house: House, changes: list[tuple[str, str]], method: str, *, keep: bool
) -> None:
    replaced = {name for name, _ in changes} if keep else set()
    pairs = [(name, value) for name, value in RIGHT if name not in replaced] + changes
    answer = house.send(method, "/authorize", pairs)
    assert answer.status_code in {200, 303, 400}
    if answer.status_code == 303:
        place = answer.headers["location"]
        assert place.startswith((CALLBACK + "?", CALLBACK + "#"))
        assert ("code=" in place) != ("error=" in place)
        assert "iss=" in place
    else:
        assert answer.headers["content-type"].startswith("text/html")


@settings(max_examples=150, deadline=None, suppress_health_check=WHATEVER)
@given(
    pairs=CHANGES,
    path=st.sampled_from(["/token", "/userinfo", "/introspect", "/revoke", "/par", "/device_authorization"]),
)
def test_no_form_gets_anything_or_finds_a_fault(house: House, pairs: list[tuple[str, str]], path: str) -> None:
    answer = house.send("POST", path, pairs)
    assert answer.status_code in {400, 401, 413}
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]
    assert "no-store" in answer.headers["cache-control"]
