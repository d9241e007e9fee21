"""What is wrong in the tailnet's policy file costs only itself, and is counted and shown to whoever looks for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes import exchange, idp, oauthclients
from fakes.idp import Browser, Provider
from tailseal.cli.explain import hindsight
from tailseal.domain.bundle import build
from tailseal.domain.capability import MOST_TOLD
from tailseal.workers.exchange.hindsight import Hindsight

API = "https://api.example"
SECRET = "no-value-is-ever-told"
APP = oauthclients.record(
    scopes=["openid", "groups"], audiences=[API], grantTypes=["authorization_code", "refresh_token"]
)
MALFORMED = {"v": 1, "allow": [{"action": [SECRET], "resource": ["*"]}]}
TOLD = "[1].allow[0].action: must be of login, register, admin, exchange, scope, or a lone *; the rule is skipped"


def login(**claims: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    return {"v": 1, "allow": [{"action": ["login"], "resource": ["client/grafana"]}], "claims": claims}


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP) as made:
        yield made


@pytest.fixture
def ana(provider: Provider) -> Browser:
    return provider.browser()


def grants(provider: Provider, monkeypatch: pytest.MonkeyPatch, *values: Any) -> None:  # noqa: ANN401
    """From now on, to Ana."""
    known = replace(idp.PEOPLE["ana"], capabilities={"tailseal.dev/cap/idp": values})
    monkeypatch.setattr(provider.runtime.callers, "_callers", {known.node.addresses[0]: known})


def counted(provider: Provider, fault: str) -> float:
    value = provider.worker.metrics.registry.get_sample_value("tailseal_capability_faults_total", {"fault": fault})
    return value or 0.0


def told(event: dict[str, Any]) -> tuple[Any, Any]:
    return event["data"].get("malformedRules"), event["data"].get("differingClaims")


async def test_a_login_goes_on_without_what_is_wrong_and_says_so(
    provider: Provider, ana: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    grants(provider, monkeypatch, login(team=SECRET, unit="a"), MALFORMED, login(team="b", unit="a"))
    given = await ana.tokens()
    said = await idp.claims(provider, given["id_token"])
    assert ("team" in said, said["unit"]) == (False, "a")
    await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    events = provider.events()
    assert [event["data"]["endpoint"] for event in events][-2:] == ["token", "userinfo"]
    assert [told(event) for event in events] == [([TOLD], ["team"])] * len(events)
    assert (counted(provider, "malformedRule"), counted(provider, "differingClaim")) == (len(events), len(events))
    page = (await ana.http.get("/")).text
    assert (TOLD in page, "without team" in page) == (True, True)
    assert (counted(provider, "malformedRule"), len(provider.events())) == (len(events) + 1, len(events))
    assert SECRET not in page + json.dumps(provider.events()) + provider.worker.metrics.render().decode()


async def test_where_nothing_is_wrong_nothing_is_said(provider: Provider, ana: Browser) -> None:
    await ana.tokens()
    assert [told(event) for event in provider.events()] == [(None, None)] * len(provider.events())
    page = (await ana.http.get("/")).text
    assert ("to no effect" in page, "without" in page) == (False, False)
    assert b"tailseal_capability_faults_total{" not in provider.worker.metrics.render()


async def test_who_may_not_log_in_for_a_slip_is_told_of_it_on_the_page(
    provider: Provider, ana: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = await ana.tokens()
    grants(provider, monkeypatch, {"note": SECRET}, MALFORMED)
    answer = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert answer.json()["error"] == "invalid_grant"
    assert (await ana.http.get("/authorize", params=idp.authorization())).status_code == 403
    for event in provider.events()[-2:]:
        malformed, _ = told(event)
        assert (malformed[0].startswith("[0]: no schema"), malformed[1]) == (True, TOLD)
    assert TOLD in (await ana.http.get("/")).text


async def test_the_exchange_of_a_login_tells_it_and_so_does_its_explanation(
    provider: Provider, ana: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"action": "exchange", "resource": "audience/https://behind.example"}
    policy = {
        "identityProviderRef": {"name": "corp", "namespace": "identity"},
        "from": {"session": {"audiences": [API], "clients": ["grafana"], "capability": wanted}},
        "grants": [{"name": "behind", "jwt": {"audiences": ["https://behind.example"]}}],
    }
    shards = build.shards([exchange.record(policy)]).files
    provider.source.put("policies", build.policies_volume(idp.settings(), shards, build.clients((APP,))[0]))
    provider.worker.loader.refresh()
    grants(provider, monkeypatch, login(), MALFORMED)
    token = (await ana.tokens(resource=API))["access_token"]
    before = counted(provider, "malformedRule")
    body = exchange.form(token, subject_token_type="urn:ietf:params:oauth:token-type:access_token")
    answer = await ana.http.post("/token", content=body, headers={"content-type": exchange.FORM})
    assert answer.status_code == 400
    event = provider.events()[-1]
    assert (told(event), counted(provider, "malformedRule")) == (([TOLD], None), before + 1)
    asked = json.dumps({"decision": event["id"]}).encode()
    explained = hindsight.text(json.loads(Hindsight(provider.worker.runtime).answer(asked)))
    assert (TOLD in explained, SECRET in explained) == (True, False)


async def test_a_flood_of_slips_makes_no_flood_of_lines(
    provider: Provider, ana: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {"v": 1, "allow": [{"action": ["login"], "resource": ["*"]}], "\N{WATERMELON}" * 500: 1}
    grants(provider, monkeypatch, login(), *[odd] * 100)
    await ana.tokens()
    assert all(len(line) < 4096 for line in provider.audit.read_text().splitlines())
    assert counted(provider, "malformedRule") == MOST_TOLD * len(provider.events())
    assert (await ana.http.get("/")).text.count("<li><code>") == MOST_TOLD
