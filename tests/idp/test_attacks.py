"""What somebody would try who wants more than he was given, or wants others to get nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import idp, oauthclients
from fakes.idp import CALLBACK, Browser, Provider, authorization, parameters
from fakes.statebytes import leaked
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import Introductions
from tailseal.oauth import credentials, device
from tailseal.state.grants import Kind
from tailseal.tokens import compact
from tailseal.workers.common.limits.exchange import Rate
from tailseal.workers.idp import cookies, room

API = "https://api.example"
BILLING = "https://billing.example"
PEOPLE: dict[str, Any] = {"allow": {"users": ["*@corp.example"]}}
GRANTS = ["authorization_code", "refresh_token", "client_credentials", device.GRANT_TYPE]
APP = oauthclients.record(scopes=["openid", "email", "groups"], audiences=[API], grantTypes=GRANTS, **PEOPLE)
SERVICE = oauthclients.record("service", resources=[API, BILLING], **PEOPLE)
METADATA = {"client_name": "Tool", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, SERVICE, introductions=Introductions(dynamic=True)) as made:
        yield made


@pytest.fixture
def ana(provider: Provider) -> Browser:
    return provider.browser()


async def registered(browser: Browser, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - any metadata
    found: dict[str, Any] = (await browser.http.post("/register", json={**METADATA, **members})).json()
    return found


async def agreed(browser: Browser, client_id: str, **asked: Any) -> str:  # noqa: ANN401 - any parameter
    """A code of a client that introduced itself, whose page was answered with yes."""
    page = await browser.http.get("/authorize", params=authorization(client_id=client_id, **asked))
    assert page.status_code == 200
    return parameters(await browser.submit(page, answer="yes"))["code"]


async def redeemed(browser: Browser, code: str, client_id: str, **changes: str) -> httpx.Response:
    data = idp.redemption(code)
    return await browser.http.post("/token", data={**data, "client_id": client_id, **changes})


# ---------------------------------------------------------------------------------------------------------- browsers


FORGED = ["x=1,{name}={value}", "x=1, {name}={value}", "\xa0{name}={value}", "x=1;\x85{name}={value}"]


@pytest.mark.parametrize("forged", FORGED)
async def test_a_neighbour_puts_no_cookie_under_our_name(provider: Provider, ana: Browser, forged: str) -> None:
    """Names with `__Host-` cannot be set from elsewhere, but only where they are read as browsers write them."""
    await ana.login()
    name = f"__Host-{cookies.SESSION}"
    header = forged.format(name=name, value=ana.session).encode("latin-1")
    other = provider.browser()
    answer = await other.http.get("/authorize", params=authorization(prompt="none"), headers={b"cookie": header})
    assert parameters(answer)["error"] == "login_required"


async def test_cookies_in_several_lines_are_read_together(provider: Provider, ana: Browser) -> None:
    await ana.login()
    lines = [("cookie", "a=b"), ("cookie", f"__Host-{cookies.SESSION}={ana.session}")]
    answer = await provider.browser().http.get(
        "/authorize", params=authorization(prompt="none"), headers=[("x-forwarded-for", "100.64.0.1"), *lines]
    )
    assert "code" in parameters(answer)


async def test_nothing_begins_in_a_session_that_has_just_ended(
    provider: Provider, ana: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ana.login()
    digest, put = credentials.digest(ana.session), provider.worker.state.put

    async def late(records: Any, family: Any = None) -> None:  # noqa: ANN401 - as the store has it
        await provider.worker.state.end_session(digest)
        await put(records, family)

    monkeypatch.setattr(provider.worker.state, "put", late)
    answer = await ana.http.get("/authorize", params=authorization())
    monkeypatch.undo()
    assert answer.status_code == 303
    assert "code" not in parameters(answer)
    assert parameters(answer)["error"] == "login_required"


async def test_enter_agrees_to_nothing(provider: Provider, ana: Browser) -> None:
    """Whoever is made to hold a key down while our page comes up has agreed to nothing."""
    made = await registered(ana)
    page = await ana.http.get("/authorize", params=authorization(client_id=made["client_id"]))
    assert "It asks for" in page.text
    assert "autofocus" not in page.text
    assert provider.issuer


# ------------------------------------------------------------------------------- clients that introduced themselves


async def test_a_client_gets_tokens_for_no_service_that_nobody_agreed_to(ana: Browser) -> None:
    client_id = (await registered(ana))["client_id"]
    answer = await redeemed(ana, await agreed(ana, client_id), client_id, resource=BILLING)
    assert (answer.status_code, answer.json().get("error")) == (400, "invalid_target")


async def test_people_see_which_services_a_client_is_to_use_and_are_asked_about_others(ana: Browser) -> None:
    client_id = (await registered(ana))["client_id"]
    page = await ana.http.get("/authorize", params=authorization(client_id=client_id, resource=BILLING))
    assert BILLING in page.text.partition("<form")[0]
    await agreed(ana, client_id, resource=BILLING)
    again = await ana.http.get("/authorize", params=authorization(client_id=client_id, resource=BILLING))
    assert "code" in parameters(again)
    other = await ana.http.get("/authorize", params=authorization(client_id=client_id, resource=API))
    assert other.status_code == 200


async def test_a_wish_for_claims_goes_around_no_consent(ana: Browser) -> None:
    client_id = (await registered(ana))["client_id"]
    wished = '{"id_token":{"email":null,"username":null},"userinfo":{"email":null}}'
    given = (await redeemed(ana, await agreed(ana, client_id, claims=wished), client_id)).json()
    assert not {"email", "username"} & compact.split(given["id_token"]).payload.keys()
    told = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    assert set(told.json()) == {"sub"}


async def test_what_was_agreed_to_counts_for_the_place_that_was_named(ana: Browser) -> None:
    made = await registered(ana)
    await agreed(ana, made["client_id"])
    elsewhere = "https://elsewhere.example/cb"
    changed = {**METADATA, "client_id": made["client_id"], "redirect_uris": [CALLBACK, elsewhere]}
    token = {"authorization": f"Bearer {made['registration_access_token']}"}
    assert (await ana.http.put(made["registration_client_uri"], json=changed, headers=token)).status_code == 200
    asked = authorization(client_id=made["client_id"])
    assert (await ana.http.get("/authorize", params=asked)).status_code == 303
    assert (await ana.http.get("/authorize", params=asked | {"redirect_uri": elsewhere})).status_code == 200


async def test_people_see_the_id_of_a_client_that_named_itself(provider: Provider, ana: Browser) -> None:
    made = await registered(ana, client_name="Corp VPN", grant_types=[device.GRANT_TYPE], redirect_uris=[])
    asked = {"client_id": made["client_id"], "scope": "openid"}
    begun = (await ana.http.post("/device_authorization", data=asked)).json()
    action, fields = idp.form(await ana.http.get(begun["verification_uri_complete"]))
    page = await ana.http.post("/" + action, data=fields)
    assert made["client_id"] in page.text
    assert provider.issuer


@pytest.mark.parametrize(
    ("opened", "kept"), [((), True), (("other.internal",), True), (("Git.internal",), False), (("10.0.0.0/8",), False)]
)
async def test_what_is_open_to_the_platform_is_not_to_clients_that_named_themselves(
    provider: Provider, ana: Browser, opened: tuple[str, ...], *, kept: bool
) -> None:
    urls = {"backchannel_logout_uri": "https://git.internal/hook", "jwks_uri": "https://git.internal/keys"}
    made = await registered(ana, **urls, token_endpoint_auth_method="private_key_jwt")
    provider.load(APP, introductions=Introductions(dynamic=True), open_hosts=opened)
    found = await provider.runtime.find_client(made["client_id"])
    assert found is not None
    assert {bool(found.backchannel_logout_uri), bool(found.jwks_uri)} == {kept}


async def test_a_registration_is_no_store_of_ones_own(ana: Browser) -> None:
    answer = await ana.http.post("/register", json={**METADATA, "jwks": {"keys": [], "more": "x" * 20_000}})
    assert (answer.status_code, answer.json()["error"]) == (413, "invalid_client_metadata")


# ------------------------------------------------------------------------------------------------------------ devices


async def test_what_one_said_of_a_device_nobody_says_otherwise(
    provider: Provider, ana: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = (await ana.post("/device_authorization", {"scope": "openid"})).json()

    async def at_the_question(name: str) -> tuple[Browser, httpx.Response]:
        browser = provider.browser(name)
        page = await browser.http.get(begun["verification_uri_complete"])
        action, fields = idp.form(page)
        return browser, await browser.http.post(action.replace("device", "/device"), data=fields)

    bob, bobs = await at_the_question("bob")
    eve, eves = await at_the_question("eve")
    put_in_place, answers = provider.worker.state.replace, list[httpx.Response]()

    async def late(former: Any, record: Any) -> bool:  # noqa: ANN401 - as the store has it
        if not answers:
            answers.append(httpx.Response(100))
            action, fields = idp.form(bobs)
            answers.append(await bob.http.post("/" + action, data=fields | {"answer": "no"}))
        return await put_in_place(former, record)

    monkeypatch.setattr(provider.worker.state, "replace", late)
    action, fields = idp.form(eves)
    answer = await eve.http.post("/" + action, data=fields | {"answer": "yes"})
    monkeypatch.undo()
    assert answer.status_code != 200
    data = {"grant_type": device.GRANT_TYPE, "device_code": begun["device_code"]}
    assert (await ana.post("/token", data)).json()["error"] == "access_denied"
    assert await provider.runtime.grants.families("userid:3") == []


async def test_people_see_all_that_has_access_however_much_there_is(provider: Provider, ana: Browser) -> None:
    """Else whoever takes the first hundred places is never seen, nor taken back."""
    await ana.tokens()
    (first,) = await provider.runtime.grants.families("userid:1")
    for number in range(120):
        more = replace(first, id=number.to_bytes(16), expires_at=first.expires_at + 100)
        await provider.runtime.grants.put([], more)
    assert first.id.hex() in (await ana.http.get("/")).text


# -------------------------------------------------------------------------------------------------- filling the store


async def test_one_person_has_no_more_sessions_than_browsers(provider: Provider) -> None:
    first = provider.browser()
    await first.login()
    for _ in range(35):
        provider.clock[0] += 1
        last = provider.browser()
        await last.login()
    assert len(await provider.runtime.grants.owned(Kind.SESSION, "userid:1")) <= 32
    silent = authorization(prompt="none")
    assert "code" in parameters(await last.http.get("/authorize", params=silent))
    assert parameters(await first.http.get("/authorize", params=silent))["error"] == "login_required"


async def test_one_person_draws_no_codes_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(room.RATES, "code", Rate(0.001, 5, 16))
    async with idp.running(tmp_path, APP) as provider:
        ana = provider.browser()
        for _ in range(5):
            await ana.login()
        refused = await ana.http.get("/authorize", params=authorization())
        assert parameters(refused)["error"] == "temporarily_unavailable"
        await provider.browser("bob").login()


async def test_a_request_that_is_pushed_is_no_store_of_ones_own(ana: Browser) -> None:
    asked = authorization(state="x" * 20_000)
    answer = await ana.post("/par", asked)
    assert (answer.status_code, answer.json()["error"]) == (413, "invalid_request")
    assert (await ana.post("/par", authorization(state="x" * 4000))).status_code == 201


@pytest.mark.parametrize(("path", "asked"), [("/par", authorization()), ("/device_authorization", {"scope": "openid"})])
async def test_clients_of_one_namespace_take_up_a_part_of_the_store(
    ana: Browser, path: str, asked: dict[str, str]
) -> None:
    statuses = {(await ana.post(path, asked)).status_code for _ in range(600)}
    assert 429 in statuses


async def test_wishes_are_kept_with_each_login_so_they_are_short(ana: Browser) -> None:
    wished = '{"userinfo":{"x":{"value":"' + "y" * 5000 + '"}}}'
    answer = await ana.http.get("/authorize", params=authorization(claims=wished))
    assert parameters(answer)["error"] == "invalid_request"


# ------------------------------------------------------------------------------------------------------- the internet


@pytest.mark.parametrize("path", ["/_healthz", "/issue", "/", "/device", "/clients/"])
async def test_the_internet_learns_nothing_of_us(provider: Provider, path: str) -> None:
    headers = {"tailscale-funnel-request": "?1"}
    answer = await provider.browser().http.request("POST" if path == "/issue" else "GET", path, headers=headers)
    assert answer.status_code == 401
    assert "version" not in answer.text


@pytest.mark.parametrize("path", ["/", "/authorize", "/device", "/clients/"])
async def test_no_name_that_leads_to_ones_own_machine_makes_a_page_ours(tmp_path: Path, path: str) -> None:
    """Over plain http no certificate tells a browser that another site's name was made to lead here."""
    local = "http://127.0.0.1:8080"
    async with idp.running(tmp_path, APP) as provider:
        files = build.policies_volume(
            idp.settings(issuer=local, token_endpoint=f"{local}/token"), {}, build.clients([APP])[0]
        )
        provider.source.put("signing", idp.signing(local))
        provider.source.put("policies", files)
        provider.worker.loader.refresh()
        ana = provider.browser()
        asked = authorization() if path == "/authorize" else {}
        assert (await ana.http.get(path, params=asked)).status_code == 200
        for host in ("evil.example:8080", "127.0.0.1", ""):
            refused = await ana.http.get(path, params=asked, headers={"host": host})
            assert refused.status_code == 401


# ------------------------------------------------------------------------------------------------------------- secrets


PATHS = (
    *("/token", "/userinfo", "/introspect", "/revoke", "/par", "/device_authorization", "/device", "/logout"),
    *("/logout/confirm", "/authorize", "/authorize/confirm", "/register", "/access/end", "/issue", "/clients/x"),
)
PARAMETERS = (
    *("token", "code", "refresh_token", "device_code", "id_token_hint", "client_assertion", "request_uri", "form"),
    *("request", "claims", "scope", "prompt", "access_token", "client_secret", "subject_token", "redirect_uri"),
)


async def test_no_endpoint_writes_a_secret_down(
    provider: Provider, ana: Browser, capfd: pytest.CaptureFixture[str]
) -> None:
    secrets = [oauthclients.SECRET]
    made = await registered(ana, token_endpoint_auth_method="client_secret_basic")
    secrets += [made["client_secret"], made["registration_access_token"]]
    pushed = (await ana.post("/par", authorization(nonce="secret-nonce", state="secret-state"))).json()
    begun = (await ana.post("/device_authorization", {"scope": "openid"})).json()
    secrets += [pushed["request_uri"], begun["device_code"], begun["user_code"], "secret-nonce", "secret-state"]
    page = await ana.http.get("/authorize", params={"client_id": "grafana", "request_uri": pushed["request_uri"]})
    code = parameters(await ana.submit(page, answer="yes"))["code"]
    given = (await ana.redeem(code)).json()
    secrets += [code, given["access_token"], given["id_token"], given["refresh_token"], ana.session]
    secrets += [cookie.value or "" for cookie in ana.http.cookies.jar]
    answers = []
    for path in PATHS:
        for first in range(len(secrets)):
            values = (secrets * 3)[first:]
            wrong = dict(zip(PARAMETERS, values, strict=False)) | {"grant_type": GRANTS[first % len(GRANTS)]}
            answers.append(await ana.http.post(path, data=wrong, auth=("grafana", values[0])))
            headers = {"authorization": f"Bearer {values[0]}", "dpop": values[0]}
            answers.append(await ana.http.get(path, headers=headers, params={"code": values[0], "scope": values[0]}))
    measured = provider.worker.metrics.render().decode()
    written = provider.audit.read_text() + "".join(capfd.readouterr()) + measured
    assert 'endpoint="authorize"' in measured
    assert not [secret for secret in secrets if secret in written]
    kept = {"secret-nonce", "secret-state"}
    assert not leaked(provider.audit.parent, {*secrets} - kept)
    told = [answer.text for answer in answers if "json" in answer.headers.get("content-type", "") or answer.is_error]
    assert not [text for secret in secrets for text in told if secret in text]
