"""What a path does not answer by a method, it says so in its own form, and names the methods that it answers by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes import idp
from fakes.idp import Browser, Provider
from fakes.idpplaces import PLACES, check
from tailseal.workers.common.http import wellknown
from tailseal.workers.idp import issue

FETCHED = ("/.well-known/jwks.json", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
ROUTED = {issue.PATH: "POST"} | dict.fromkeys(
    [
        *FETCHED,
        *("/tenant/.well-known/jwks.json", "/tenant/.well-known/openid-configuration"),
        *("/.well-known/openid-configuration/tenant", "/.well-known/oauth-authorization-server/tenant"),
    ],
    "GET HEAD OPTIONS",
)
"""Paths whose methods the router knows, and refuses others in their stead."""


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path) as made:
        yield made


@pytest.fixture
def ana(provider: Provider) -> Browser:
    return provider.browser()


METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"}
OWN = {path: {*place.methods.split(), *(["OPTIONS"] if place.cors else [])} for path, place in PLACES.items()}
OTHERS = [(path, method) for path in PLACES for method in sorted(METHODS - OWN[path])]


@pytest.mark.parametrize(("path", "method"), OTHERS)
async def test_another_method_is_refused_and_the_right_ones_are_named(ana: Browser, path: str, method: str) -> None:
    place = PLACES[path]
    answer = await ana.http.request(method, path, headers={"accept": "text/html,*/*"})
    check(answer, 405, place)
    assert set(answer.headers["allow"].split(", ")) == set(place.methods.split())


@pytest.mark.parametrize("path", PLACES)
async def test_only_what_scripts_call_answers_their_browsers_question(ana: Browser, path: str) -> None:
    answer = await ana.http.options(path, headers={"origin": "https://spa.example"})
    if PLACES[path].cors:
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "*"
    else:
        assert answer.status_code == 405
        assert "access-control-allow-origin" not in answer.headers


REFUSED = [(path, method) for path in ROUTED for method in sorted(METHODS - {*ROUTED[path].split()})]


def test_every_well_known_path_is_tried(provider: Provider) -> None:
    tried = {path.replace("tenant", "{path}") for path in ROUTED}
    routes = wellknown.routes(provider.runtime.common, openid=lambda _: {}, oauth=lambda _: {})
    assert {route.path.replace("{above:path}", "{path}").replace("{below:path}", "{path}") for route in routes} < tried


@pytest.mark.parametrize(("path", "method"), REFUSED)
async def test_the_router_refuses_as_the_endpoints_do(ana: Browser, path: str, method: str) -> None:
    answer = await ana.http.request(method, path, headers={"accept": "text/html,*/*"})
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.headers["allow"].split(", ")) == set(ROUTED[path].split())
    assert answer.json().keys() == {"error", "error_description"}
    assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    "path", ["/nothing/here", "/other/.well-known/jwks.json", "/.well-known/openid-configuration/x"]
)
async def test_what_is_not_there_is_not_remembered_either(ana: Browser, path: str) -> None:
    answer = await ana.http.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
