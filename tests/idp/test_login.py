"""Logging in, from an application's request to tokens and what they tell, over the provider's own endpoints."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import idp, oauthclients
from fakes.idp import CALLBACK, Provider, authorization, form, parameters, signing
from fakes.statebytes import leaked
from tailseal.oauth import idtoken
from tailseal.workers.idp import app

API = "https://api.example"
PEOPLE: dict[str, Any] = {"allow": {"users": ["*@corp.example"], "tags": ["tag:ci"]}}
APP = oauthclients.record(scopes=["openid", "profile", "email", "groups", "offline_access"], audiences=[API], **PEOPLE)
BY_CAPABILITY = oauthclients.record("capable")
EC = oauthclients.record("ec", idTokenAlgorithm="ES256", subjectType="Pairwise", **PEOPLE)
ONCE = oauthclients.record("once", grantTypes=["authorization_code"], **PEOPLE)
ROBOT = oauthclients.robot(API)


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, BY_CAPABILITY, EC, ONCE, ROBOT) as made:
        yield made


# -------------------------------------------------------------------------------------------------------- the way


async def test_a_person_confirms_once_and_is_then_sent_straight_back(provider: Provider) -> None:
    ana = provider.browser()
    page = await ana.http.get("/authorize", params=authorization(nonce="n"))
    assert page.status_code == 200
    assert "Log in to grafana?" in page.text
    assert "ana@corp.example" in page.text
    answer = await ana.submit(page, answer="yes")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(CALLBACK + "?code=")
    assert (parameters(answer)["state"], parameters(answer)["iss"]) == ("s1", provider.issuer)
    again = await ana.http.get("/authorize", params=authorization(prompt="none"))
    assert again.status_code == 303
    assert "code" in parameters(again)


async def test_tokens_say_who_it_is_and_that_they_belong_together(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(scope="openid profile email groups offline_access", nonce="n-1")
    assert (given["token_type"], given["expires_in"]) == ("Bearer", 600)
    assert given["scope"] == "openid profile email groups offline_access"
    found = await idp.claims(provider, given["id_token"])
    assert {name: found[name] for name in ("iss", "sub", "aud", "azp", "nonce", "alg", "typ")} == {
        "iss": provider.issuer,
        "sub": "userid:1",
        "aud": "grafana",
        "azp": "grafana",
        "nonce": "n-1",
        "alg": "RS256",
        "typ": "JWT",
    }
    assert found["at_hash"] == idtoken.half_hash(given["access_token"], "RS256")
    assert found["auth_time"] == provider.clock[0]
    assert (found["email"], found["email_verified"]) == ("ana@corp.example", True)
    access = await idp.claims(provider, given["access_token"])
    assert (access["typ"], access["aud"], access["sub"]) == ("at+jwt", provider.issuer, "userid:1")
    assert (access["client_id"], access["alg"]) == ("grafana", "ES256")
    assert access["username"] == "ana@corp.example"
    assert "email" not in access


async def test_a_client_has_its_own_algorithm_and_subject(provider: Provider) -> None:
    ana = provider.browser()
    code = await ana.login(client_id="ec")
    data = idp.redemption(code)
    given = (await ana.post("/token", data, "ec")).json()
    found = await idp.claims(provider, given["id_token"])
    assert found["alg"] == "ES256"
    assert found["sub"] != "userid:1"
    told = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    assert told.json()["sub"] == found["sub"] == (await idp.claims(provider, given["access_token"]))["sub"]


async def test_a_subject_of_its_own_follows_from_the_salt_and_outlives_the_poll_key(provider: Provider) -> None:
    async def subject_with(poll_key: bytes, salt: bytes) -> str:
        files = signing(provider.issuer)
        model = json.loads(files["signing.json"]) | {"statusKey": base64.urlsafe_b64encode(poll_key).decode()}
        provider.source.put("signing", files | {"signing.json": json.dumps(model).encode(), "salt": salt})
        provider.worker.loader.refresh()
        ana = provider.browser()
        given = (await ana.post("/token", idp.redemption(await ana.login(client_id="ec")), "ec")).json()
        return str((await idp.claims(provider, given["id_token"]))["sub"])

    before = await subject_with(b"p" * 32, b"s" * 32)
    assert await subject_with(b"q" * 32, b"s" * 32) == before
    assert await subject_with(b"q" * 32, b"t" * 32) != before


async def test_no_refresh_token_for_who_may_not_refresh(provider: Provider) -> None:
    ana = provider.browser()
    code = await ana.login(client_id="once")
    data = idp.redemption(code)
    assert "refresh_token" not in (await ana.post("/token", data, "once")).json()


async def test_without_openid_there_is_no_id_token(provider: Provider) -> None:
    given = await provider.browser().tokens(scope=None)
    assert "id_token" not in given
    answer = await provider.browser().http.get(
        "/userinfo", headers={"authorization": f"Bearer {given['access_token']}"}
    )
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    assert 'scope="openid"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("mode", ["query", "fragment", "form_post"])
@pytest.mark.parametrize("prompt", [None, "none"])
async def test_answers_travel_as_asked(provider: Provider, mode: str, prompt: str | None) -> None:
    ana = provider.browser()
    asked = authorization(response_mode=mode, prompt=prompt, state='"><script>')
    answer = await ana.http.get("/authorize", params=asked)
    if prompt is None:
        answer = await ana.submit(answer, answer="yes")
    if mode == "form_post":
        action, sent = form(answer)
        assert (answer.status_code, action) == (200, CALLBACK)
        assert '"><script>' not in answer.text
    else:
        assert answer.status_code == 303
        mark = "?" if mode == "query" else "#"
        where, _, text = answer.headers["location"].partition(mark)
        assert where == CALLBACK
        sent = dict(httpx.QueryParams(text).items())
    assert sent["state"] == '"><script>'
    assert sent["iss"] == provider.issuer
    assert ("code" in sent, sent.get("error")) == ((True, None) if prompt is None else (False, "login_required"))


async def test_by_post_as_by_get(provider: Provider) -> None:
    ana = provider.browser()
    first = await ana.http.post("/authorize", data=authorization())
    assert first.status_code == 303  # another site may have posted: browsers send our cookie with the next request
    assert first.headers["location"].startswith(f"{provider.issuer}/authorize?")
    page = await ana.http.get(first.headers["location"])
    assert "code" in parameters(await ana.submit(page, answer="yes"))
    assert "code" in parameters(await ana.http.post("/authorize", data=authorization()))
    wrong = await ana.http.post("/authorize", json=authorization())
    assert (wrong.status_code, wrong.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert (await ana.http.put("/authorize")).status_code == 405


async def test_no_is_no(provider: Provider) -> None:
    ana = provider.browser()
    answer = await ana.submit(await ana.http.get("/authorize", params=authorization()), answer="no")
    assert (answer.status_code, parameters(answer)["error"]) == (303, "access_denied")
    assert "set-cookie" not in answer.headers
    again = await ana.http.get("/authorize", params=authorization(prompt="none"))
    assert parameters(again)["error"] == "login_required"


@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"max_age": "60"}, {"login_hint": "bob@corp.example"}])
async def test_a_person_confirms_anew_where_that_is_asked(provider: Provider, changes: dict[str, str]) -> None:
    ana = provider.browser()
    await ana.login()
    provider.clock[0] += 100
    page = await ana.http.get("/authorize", params=authorization(**changes))
    assert page.status_code == 200
    answer = await ana.redeem(parameters(await ana.submit(page, answer="yes"))["code"])
    assert (await idp.claims(provider, answer.json()["id_token"]))["auth_time"] == provider.clock[0]


async def test_consent_is_asked_where_a_client_wants_that(provider: Provider) -> None:
    ana = provider.browser()
    await ana.login()
    page = await ana.http.get("/authorize", params=authorization(prompt="consent", scope="openid email"))
    assert (page.status_code, "your mail address" in page.text) == (200, True)
    assert "code" in parameters(await ana.submit(page, answer="yes"))


async def test_a_session_ends_after_a_day(provider: Provider) -> None:
    ana = provider.browser()
    await ana.login()
    provider.clock[0] += 86_401
    assert parameters(await ana.http.get("/authorize", params=authorization(prompt="none")))["error"] == (
        "login_required"
    )


async def test_a_session_is_worth_nothing_elsewhere(provider: Provider) -> None:
    ana, bob = provider.browser(), provider.browser("bob")
    await ana.login()
    bob.http.cookies = ana.http.cookies
    page = await bob.http.get("/authorize", params=authorization())
    assert (page.status_code, "bob@corp.example" in page.text) == (200, True)


async def test_an_id_token_of_somebody_else_is_no_way_in(provider: Provider) -> None:
    ana, bob = provider.browser(), provider.browser("bob")
    mine, his = await ana.tokens(), await bob.tokens()
    provider.clock[0] += 3000  # one that has expired still says who it was
    for token, outcome in (
        (mine["id_token"], "code"),
        (his["id_token"], "login_required"),
        (mine["access_token"], "invalid_request"),
        ("nonsense", "invalid_request"),
    ):
        answer = await ana.http.get("/authorize", params=authorization(id_token_hint=token, prompt="none"))
        sent = parameters(answer)
        assert outcome == ("code" if "code" in sent else sent["error"])


# ---------------------------------------------------------------------------------------------------------- who may


async def test_who_may_not_log_in_is_told_so(provider: Provider) -> None:
    eve, robot = provider.browser("eve"), provider.browser("robot")
    refused = await eve.http.get("/authorize", params=authorization(client_id="capable"))
    assert (refused.status_code, "You may not do that" in refused.text) == (403, True)
    silent = await eve.http.get("/authorize", params=authorization(client_id="capable", prompt="none"))
    assert parameters(silent)["error"] == "access_denied"
    assert (await provider.browser("bob").http.get("/authorize", params=authorization(client_id="capable"))).is_success
    assert (await robot.http.get("/authorize", params=authorization(client_id="capable"))).status_code == 200
    assert (await robot.http.get("/authorize", params=authorization())).status_code == 200
    provider.load(oauthclients.record(allow={"users": ["**"]}))
    assert (await robot.http.get("/authorize", params=authorization())).status_code == 403


async def test_the_internet_logs_nobody_in(provider: Provider) -> None:
    funnel = {"tailscale-funnel-request": "?1"}
    answer = await provider.browser().http.get("/authorize", params=authorization(), headers=funnel)
    assert (answer.status_code, "access_denied" in answer.text) == (401, True)
    asked = funnel | {"accept": "application/json"}
    answer = await provider.browser().http.get("/authorize", params=authorization(), headers=asked)
    assert (answer.status_code, answer.json()["error"]) == (401, "access_denied")
    assert (await provider.browser().http.post("/token", headers=funnel)).json()["error"] == "invalid_request"


async def test_without_a_tailnet_nobody_can_be_known_and_programs_are_served(provider: Provider) -> None:
    provider.app = app.build(replace(provider.runtime, callers=None))
    ana = provider.browser()
    page = await ana.http.get("/authorize", params=authorization())
    assert (page.status_code, "part of no tailnet" in page.text) == (401, True)
    answer = await ana.http.get("/authorize", params=authorization(), headers={"accept": "application/json"})
    assert (answer.json()["error"], answer.json()["tailseal_reason"]) == ("access_denied", "NoTailnet")
    silent = await ana.http.get("/authorize", params=authorization(prompt="none"))
    assert parameters(silent)["error"] == "access_denied"
    given = await ana.post("/token", {"grant_type": "client_credentials"}, "robot")
    assert given.status_code == 200
    asked = await ana.post("/introspect", {"token": given.json()["access_token"]}, "robot")
    assert asked.json()["active"] is True
    document = (await ana.http.get("/.well-known/openid-configuration")).json()
    assert "authorization_endpoint" not in document
    assert "authorization_code" not in document["grant_types_supported"]


async def test_a_stranger_is_nobody(provider: Provider) -> None:
    ana = provider.browser()
    ana.http.headers["x-forwarded-for"] = "100.64.9.9"
    assert (await ana.http.get("/authorize", params=authorization())).status_code == 401


# ------------------------------------------------------------------------------------------------------- the form


@pytest.mark.parametrize("thief", ["no cookie", "other request", "other person", "no token", "late"])
async def test_a_form_counts_for_whom_and_what_it_was_made(provider: Provider, thief: str) -> None:
    ana = provider.browser()
    action, fields = form(await ana.http.get("/authorize", params=authorization()))
    sender = ana
    if thief == "no cookie":
        sender = provider.browser()
    elif thief == "other person":
        sender = provider.browser("bob")
        sender.http.cookies = ana.http.cookies
    elif thief == "other request":
        fields["request"] = fields["request"].replace("state=s1", "state=s2")
    elif thief == "no token":
        fields["form"] = ""
    else:
        provider.clock[0] += 3601
    answer = await sender.http.post(action, data=fields | {"answer": "yes"})
    assert (answer.status_code, "location" in answer.headers) == (403, False)
    assert "set-cookie" not in answer.headers


async def test_pages_are_closed_to_frames_scripts_and_caches(provider: Provider) -> None:
    page = await provider.browser().http.get("/authorize", params=authorization(login_hint="<b>x</b>"))
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-frame-options"] == "DENY"
    assert "<b>x" not in page.text
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert {"HttpOnly", "Secure", "Path=/"} <= set(re.split("; ?", cookie))


async def test_no_host_header_is_believed(provider: Provider) -> None:
    page = await provider.browser().http.get("/authorize", params=authorization(), headers={"host": "evil.example"})
    assert "evil.example" not in page.text + str(page.headers)
    document = await provider.browser().http.get("/.well-known/openid-configuration", headers={"host": "evil.example"})
    assert "evil.example" not in document.text


# ---------------------------------------------------------------------------------------------------- around it all


@pytest.mark.parametrize("path", ["/token", "/userinfo", "/.well-known/openid-configuration", "/.well-known/jwks.json"])
async def test_scripts_of_any_origin_may_ask(provider: Provider, path: str) -> None:
    answer = await provider.browser().http.options(path, headers={"origin": "https://spa.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"])
async def test_discovery(provider: Provider, path: str) -> None:
    document = (await provider.browser().http.get(path)).json()
    assert document["authorization_endpoint"] == f"{provider.issuer}/authorize"
    assert document["id_token_signing_alg_values_supported"] == ["ES256", "RS256"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded"),
        (b"grant_type=%zz", "application/x-www-form-urlencoded"),
        (b"grant_type=authorization_code&grant_type=refresh_token", "application/x-www-form-urlencoded"),
        (b"grant_type=authorization_code&x=1&x=2", "application/x-www-form-urlencoded"),
        (b"x=" + b"a" * 70_000, "application/x-www-form-urlencoded"),
        (b'{"grant_type": "authorization_code"}', "application/json"),
        (b"grant_type=authorization_code", "text/plain"),
    ],
)
async def test_errors_of_programs_are_json_whatever_they_accept(provider: Provider, body: bytes, kind: str) -> None:
    headers = {"accept": "text/html", "content-type": kind}
    answer = await provider.browser().http.post("/token", content=body, headers=headers)
    assert answer.status_code in {400, 413}
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"] == "invalid_request"


async def test_no_secret_is_ever_written_down(provider: Provider, capfd: pytest.CaptureFixture[str]) -> None:
    ana = provider.browser()
    code = await ana.login(nonce="secret-nonce")
    given = (await ana.redeem(code)).json()
    await ana.redeem(code)
    await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    written = provider.audit.read_text() + "".join(capfd.readouterr())
    secrets = [code, *(given[name] for name in ("access_token", "id_token", "refresh_token")), oauthclients.SECRET]
    secrets += [cookie.value or "" for cookie in ana.http.cookies.jar]
    assert not [secret for secret in secrets if secret in written]
    assert not leaked(provider.audit.parent, secrets)


async def test_each_step_is_written_down(provider: Provider) -> None:
    ana = provider.browser()
    await ana.tokens(scope="openid")
    seen = [(event["data"]["endpoint"], event["type"].rpartition(".")[2]) for event in provider.events()]
    assert seen == [("authorize", "asked"), ("authorize", "granted"), ("token", "granted")]
    assert {event["subject"] for event in provider.events()} == {"userid:1"}
