"""Logging out, at once or after a question, with every application told; and what people see and take back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from fakes import exchange, idp, oauthclients
from fakes.idp import Browser, Provider
from tailseal.egress.client import Answer
from tailseal.egress.errors import EgressError, EgressReason
from tailseal.oauth import logout
from tailseal.tokens import compact
from tailseal.tokens.keyset import parse_jwks
from tailseal.workers.common.http.application import application
from tailseal.workers.idp import logout as endpoints
from tailseal.workers.idp.backchannel import Backchannel

BYE = "https://app.example/bye"
EVERYBODY = {"users": ["*@corp.example"]}
GRAFANA = oauthclients.record(
    allow=EVERYBODY,
    postLogoutRedirectURIs=[BYE, "https://app.example/bye?a=1"],
    backchannelLogoutURI="https://app.example/told",
    scopes=["openid", "offline_access"],
)
OTHER = oauthclients.record("other", allow=EVERYBODY, backchannelLogoutURI="https://other.example/told")
UNSIGNED = compact.encode(b'{"alg":"none"}').decode()
KEYS = parse_jwks({"keys": [exchange.jwk(exchange.rsa_key("idp"), "RS256", "RS256")]})


class Applications:
    """Answers what applications are told.

    Args:
        answers: statuses in turn, or None for a broken connection; the last one for ever.
    """

    def __init__(self, *answers: int | None) -> None:
        self.answers, self.told = list(answers) or [200], list[tuple[str, str]]()

    async def __call__(self) -> Any:  # noqa: ANN401 - what an Egress does here
        return self

    async def post_form(self, url: str, fields: Mapping[str, str]) -> Answer:
        self.told.append((url, fields["logout_token"]))
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status is None:
            raise EgressError(EgressReason.UNREACHABLE, "no")
        return Answer(status, {}, b"")


class World:
    """A provider whose applications are told by a fake."""

    def __init__(self, provider: Provider, applications: Applications) -> None:
        self.provider, self.applications = provider, applications
        runtime = replace(provider.runtime, egress=applications)
        self.backchannel = Backchannel(runtime, (0, 0, 0))
        routes = [
            Route("/logout", endpoints.endpoint(runtime, self.backchannel)),
            Route(endpoints.CONFIRM, endpoints.confirmation(runtime, self.backchannel)),
        ]
        kept = [route for route in provider.app.routes if not str(route.path).startswith("/logout")]
        provider.app = application([*routes, *kept])

    async def told(self) -> dict[str, dict[str, Any]]:
        await self.backchannel.aclose()
        found = {}
        for url, token in self.applications.told:
            split = compact.split(token)
            assert split.header["typ"] == "logout+jwt"
            assert KEYS.find("RS256", "RS256").verify(split.signing_input, split.signature)
            found[url] = split.payload
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with idp.running(tmp_path, GRAFANA, OTHER) as provider:
        yield World(provider, Applications())


async def both(ana: Browser) -> dict[str, Any]:
    """Logged in to both applications; the tokens of the first."""
    given = await ana.tokens()
    await ana.login(client_id="other")
    return given


async def is_logged_in(ana: Browser) -> bool:
    answer = await ana.http.get("/authorize", params=idp.authorization(prompt="none"))
    return "code" in idp.parameters(answer)


async def test_an_application_logs_its_person_out_without_a_question_and_all_are_told(world: World) -> None:
    ana = world.provider.browser()
    given = await both(ana)
    sid = compact.split(given["id_token"]).payload["sid"]
    asked = {"id_token_hint": given["id_token"], "post_logout_redirect_uri": BYE, "state": "a b&c"}
    answer = await ana.http.get("/logout", params=asked)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BYE}?state=a%20b%26c")
    assert not await is_logged_in(ana)
    told = await world.told()
    assert told.keys() == {"https://app.example/told", "https://other.example/told"}
    claims = told["https://app.example/told"]
    assert (claims["aud"], claims["sub"], claims["sid"], claims["iss"]) == (
        "grafana",
        "userid:1",
        sid,
        world.provider.issuer,
    )
    assert claims["events"] == {logout.EVENT: {}}
    assert claims["exp"] - claims["iat"] == logout.SECONDS
    assert "nonce" not in claims
    again = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert again.json()["error"] == "invalid_grant"


async def test_offline_access_outlives_a_logout_and_its_application_is_told(world: World) -> None:
    ana = world.provider.browser()
    given = await ana.tokens(scope="openid offline_access")
    await ana.http.get("/logout", params={"id_token_hint": given["id_token"]})
    assert (await world.told()).keys() == {"https://app.example/told"}
    again = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert again.status_code == 200


async def test_a_client_that_was_created_anew_is_told_nothing_of_the_former_one(world: World) -> None:
    ana = world.provider.browser()
    given = await both(ana)
    world.provider.load(GRAFANA.model_copy(update={"uid": "another"}), OTHER)
    await ana.http.get("/logout", params={"id_token_hint": given["id_token"]})
    assert (await world.told()).keys() == {"https://other.example/told"}


async def test_an_expired_hint_is_as_good(world: World) -> None:
    ana = world.provider.browser()
    given = await ana.tokens()
    world.provider.clock[0] += 3600
    answer = await ana.http.get("/logout", params={"id_token_hint": given["id_token"], "post_logout_redirect_uri": BYE})
    assert (answer.status_code, answer.headers["location"]) == (303, BYE)


async def test_a_uri_keeps_its_own_query(world: World) -> None:
    ana = world.provider.browser()
    given = await ana.tokens()
    asked = {"id_token_hint": given["id_token"], "post_logout_redirect_uri": f"{BYE}?a=1", "state": "s"}
    assert (await ana.http.get("/logout", params=asked)).headers["location"] == f"{BYE}?a=1&state=s"


async def test_without_a_hint_people_are_asked(world: World) -> None:
    ana = world.provider.browser()
    await ana.tokens()
    page = await ana.http.get("/logout", params={"client_id": "grafana", "post_logout_redirect_uri": BYE, "state": "s"})
    assert page.status_code == 200
    assert await is_logged_in(ana)
    stayed = await ana.submit(page, answer="no")
    assert "still logged in" in stayed.text
    assert await is_logged_in(ana)
    answer = await ana.submit(page, answer="yes")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BYE}?state=s")
    assert not await is_logged_in(ana)


async def test_the_page_lets_its_form_lead_where_people_are_sent_back(world: World) -> None:
    ana = world.provider.browser()
    await ana.tokens()
    for asked, leads in (
        ({}, "'self' https:;"),
        ({"client_id": "grafana", "post_logout_redirect_uri": BYE}, "app.example;"),
    ):
        page = await ana.http.get("/logout", params=asked)
        policy = page.headers["content-security-policy"]
        assert f"{leads}" in policy[policy.index("form-action") :]


async def test_a_hint_of_another_session_asks(world: World) -> None:
    ana, elsewhere = world.provider.browser(), world.provider.browser()
    await ana.tokens()
    other = await elsewhere.tokens()
    page = await ana.http.get("/logout", params={"id_token_hint": other["id_token"]})
    assert page.status_code == 200
    assert "<form" in page.text
    assert await is_logged_in(ana)


async def test_who_is_not_logged_in_goes_back_at_once(world: World) -> None:
    ana, fresh = world.provider.browser(), world.provider.browser()
    given = await ana.tokens()
    answer = await fresh.http.get(
        "/logout", params={"id_token_hint": given["id_token"], "post_logout_redirect_uri": BYE}
    )
    assert answer.headers["location"] == BYE
    assert "logged out" in (await fresh.http.get("/logout")).text
    assert await is_logged_in(ana)


async def test_another_site_s_form_is_sent_on_to_where_the_cookie_is(world: World) -> None:
    ana = world.provider.browser()
    given = await ana.tokens()
    cookies, ana.http.cookies = ana.http.cookies, httpx.Cookies()
    answer = await ana.http.post("/logout", data={"id_token_hint": given["id_token"], "post_logout_redirect_uri": BYE})
    assert answer.status_code == 303
    ana.http.cookies = cookies
    answer = await ana.http.get(answer.headers["location"])
    assert answer.headers["location"] == BYE
    assert not await is_logged_in(ana)


NOWHERE = {
    "unregistered": {"client_id": "grafana", "post_logout_redirect_uri": "https://evil.example"},
    "almost": {"client_id": "grafana", "post_logout_redirect_uri": BYE + "/"},
    "of a client that is not there": {"client_id": "unknown", "post_logout_redirect_uri": BYE},
    "of another client": {"client_id": "other", "post_logout_redirect_uri": BYE},
    "of nobody": {"post_logout_redirect_uri": BYE},
}


@pytest.mark.parametrize("asked", NOWHERE.values(), ids=NOWHERE)
async def test_nobody_is_sent_where_nobody_registered(world: World, asked: dict[str, str]) -> None:
    ana = world.provider.browser()
    await ana.tokens()
    answer = await ana.http.get("/logout", params=asked)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert await is_logged_in(ana)


async def test_what_is_no_id_token_is_no_hint(world: World) -> None:
    ana = world.provider.browser()
    given = await ana.tokens()
    head, body, tail = given["id_token"].split(".")
    hints = {
        "an access token": given["access_token"],
        "a refresh token": given["refresh_token"],
        "nonsense": "a.b.c",
        "changed": f"{head}.{body}.{tail[:-4]}AAAA",
        "unsigned": f"{UNSIGNED}.{body}.",
    }
    for name, hint in hints.items():
        answer = await ana.http.get("/logout", params={"id_token_hint": hint})
        assert answer.status_code == 400, name
    assert await is_logged_in(ana)
    answer = await ana.http.get("/logout", params={"id_token_hint": given["id_token"], "client_id": "other"})
    assert answer.status_code == 400


async def test_another_site_cannot_log_anybody_out(world: World) -> None:
    ana, mallory = world.provider.browser(), world.provider.browser("bob")
    await ana.tokens()
    await mallory.tokens()
    page = await mallory.http.get("/logout")
    action, fields = idp.form(page)
    await ana.http.get("/logout")
    for sent in (fields, {**fields, "form": ""}, {}):
        answer = await ana.http.post(action, data={**sent, "answer": "yes"})
        assert answer.status_code in {400, 403}
    assert await is_logged_in(ana)


@pytest.mark.parametrize(
    ("answers", "tries"), [((500, None, 204), 3), ((400,), 1), ((None,), 3), ((204,), 1), ((503, 200), 2)]
)
async def test_an_application_is_told_a_few_times(tmp_path: Path, answers: tuple[int | None, ...], tries: int) -> None:
    async with idp.running(tmp_path, GRAFANA) as provider:
        world = World(provider, Applications(*answers))
        ana = provider.browser()
        given = await ana.tokens()
        assert (await ana.http.get("/logout", params={"id_token_hint": given["id_token"]})).status_code == 200
        await world.told()
        assert len(world.applications.told) == tries
        assert len(set(world.applications.told)) == 1


# ------------------------------------------------------------------------------------------------ the page for people


async def test_people_see_what_has_access_and_take_it_back(world: World) -> None:
    ana = world.provider.browser()
    given = await ana.tokens()
    page = await ana.http.get("/")
    assert page.status_code == 200
    for text in ("Ana", "ana@corp.example", "userid:1", "pc1.tail.example", "grafana", "openid"):
        assert text in page.text
    answer = await ana.submit(page)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{world.provider.issuer}/")
    assert "Nothing." in (await ana.http.get("/")).text
    again = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert again.json()["error"] == "invalid_grant"


async def test_nobody_takes_back_what_is_another_s(world: World) -> None:
    ana, bob = world.provider.browser(), world.provider.browser("bob")
    given = await ana.tokens()
    await bob.tokens()
    _, theirs = idp.form(await ana.http.get("/"))
    action, fields = idp.form(await bob.http.get("/"))
    for sent in ({**fields, "family": theirs["family"]}, {**fields, "family": "x"}, {**fields, "registered": "x"}):
        assert (await bob.http.post(action, data=sent)).status_code == 404
    assert (await bob.http.post(action, data={**theirs})).status_code == 403
    again = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert again.status_code == 200


async def test_who_may_log_in_nowhere_still_sees_who_they_are(world: World) -> None:
    page = await world.provider.browser("eve").http.get("/")
    assert "eve@corp.example" in page.text


async def test_pages_show_nothing_to_strangers(world: World) -> None:
    for path in ("/", "/device"):
        answer = await world.provider.browser(**{"x-forwarded-for": "100.64.0.99"}).http.get(path)
        assert answer.status_code == 401


def test_a_login_without_a_session_names_none() -> None:
    client = oauthclients.client()
    said = logout.token_claims(idp.settings(), client, subject="userid:1", sid="", token_id="j", now=exchange.NOW)
    assert "sid" not in said
    assert said["sub"] == "userid:1"
