"""What clients ask of the provider beside tokens: introspection, revocation, pushed requests, devices, registration."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes import exchange, idp, oauthclients
from fakes.idp import CALLBACK, Provider
from tailseal.domain.bundle.model import ClientSecret, Introductions
from tailseal.domain.clients import secrets
from tailseal.oauth import device, introspection, registration
from tailseal.tokens import compact
from tailseal.tokens.keyset import parse_jwks
from tailseal.workers.idp import app, par

API = "https://api.example"
GRANTS = ["authorization_code", "refresh_token", "client_credentials", device.GRANT_TYPE]
APP = oauthclients.record(
    grantTypes=GRANTS, audiences=[API], scopes=["openid", "email", "invoices.read"], allow={"users": ["*@corp.example"]}
)
OTHER = oauthclients.record("other", allow={"users": ["*@corp.example"]})
SERVICE = oauthclients.record("api", resources=[API], grantTypes=["client_credentials"], redirectURIs=None)
SPA = oauthclients.record("spa", type="Public")
RS = ("api", oauthclients.SECRET)


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    opaque = oauthclients.record("opaque", accessTokenFormat="Opaque", allow={"users": ["*@corp.example"]})
    records = (APP, OTHER, SERVICE, SPA, opaque)
    async with idp.running(tmp_path, *records, introductions=Introductions(dynamic=True)) as made:
        yield made


# ------------------------------------------------------------------------------------------------- introspection


async def test_a_service_learns_what_a_token_for_it_is(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API, scope="openid email invoices.read")
    answer = await ana.post("/introspect", {"token": given["access_token"]}, *RS)
    said = answer.json()
    assert answer.status_code == 200
    assert said["active"] is True
    assert {name: said[name] for name in ("sub", "client_id", "aud", "iss", "token_type")} == {
        "sub": "userid:1",
        "client_id": "grafana",
        "aud": API,
        "iss": provider.issuer,
        "token_type": "Bearer",
    }
    assert set(said["scope"].split()) == {"openid", "email", "invoices.read"}
    assert answer.headers["cache-control"] == "no-store"


async def test_whom_a_token_does_not_concern_learns_nothing(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API)
    for token, client in [
        (given["access_token"], "other"),
        (given["refresh_token"], "other"),
        (given["refresh_token"], "api"),
        ("unknown", "grafana"),
        (given["id_token"], "grafana"),
        ("a.b.c", "grafana"),
        ("x" * 5000, "grafana"),
    ]:
        answer = await ana.post("/introspect", {"token": token}, client)
        assert (answer.status_code, answer.json()) == (200, {"active": False})


async def test_a_client_learns_about_its_own_tokens(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API)
    for token in (given["access_token"], given["refresh_token"]):
        said = (await ana.post("/introspect", {"token": token, "token_type_hint": "nonsense"})).json()
        assert said["active"] is True
        assert said["sub"] == "userid:1"
    assert "token_type" not in said


async def test_an_opaque_token_is_told_like_any_other(provider: Provider) -> None:
    ana = provider.browser()
    code = await ana.login(client_id="opaque")
    data = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": idp.VERIFIER}
    given = (await ana.post("/token", data, "opaque")).json()
    assert "." not in given["access_token"]
    said = (await ana.post("/introspect", {"token": given["access_token"]}, "opaque")).json()
    assert (said["active"], said["client_id"], said["aud"]) == (True, "opaque", provider.issuer)


async def test_introspection_can_be_signed(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API)
    ana.http.headers["accept"] = introspection.MEDIA_TYPE
    answer = await ana.post("/introspect", {"token": given["access_token"]}, *RS)
    assert answer.headers["content-type"] == introspection.MEDIA_TYPE
    token = compact.split(answer.text)
    assert token.header["typ"] == "token-introspection+jwt"
    assert (
        parse_jwks({"keys": [exchange.jwk(exchange.rsa_key("idp"), "RS256", "RS256")]})
        .find("RS256", "RS256")
        .verify(token.signing_input, token.signature)
    )
    assert token.payload["aud"] == "api"
    assert token.payload["iss"] == provider.issuer
    assert token.payload["token_introspection"]["active"] is True
    assert "sub" not in token.payload
    assert "exp" not in token.payload


async def test_a_token_that_has_expired_is_not_active(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API)
    provider.clock[0] += 601
    said = (await ana.post("/introspect", {"token": given["access_token"]}, *RS)).json()
    assert said == {"active": False}


async def test_nobody_introspects_without_a_proof(provider: Provider) -> None:
    ana = provider.browser()
    for sent in ({"client_id": "spa"}, {}, {"client_id": "grafana"}):
        answer = await ana.http.post("/introspect", data={"token": "x", **sent})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert "www-authenticate" not in answer.headers


async def test_a_wrong_secret_in_http_basic_names_the_scheme(provider: Provider) -> None:
    answer = await provider.browser().post("/introspect", {"token": "x"}, "grafana", "wrong")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_a_client_that_was_created_anew_is_another(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API)
    provider.load(APP.model_copy(update={"uid": "another"}), SERVICE)
    for token in (given["access_token"], given["refresh_token"]):
        assert (await ana.post("/introspect", {"token": token})).json() == {"active": False}
        assert (await ana.post("/revoke", {"token": token})).json()["error"] == "invalid_request"
    again = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert again.json()["error"] == "invalid_grant"


# --------------------------------------------------------------------------------------------------- revocation


async def test_an_access_token_that_is_revoked_ends_alone(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API)
    answer = await ana.post("/revoke", {"token": given["access_token"], "token_type_hint": "refresh_token"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert (await ana.post("/introspect", {"token": given["access_token"]}, *RS)).json() == {"active": False}
    again = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert again.status_code == 200


async def test_a_refresh_token_that_is_revoked_ends_all_that_came_of_the_login(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API)
    assert (await ana.post("/revoke", {"token": given["refresh_token"]})).status_code == 200
    assert (await ana.post("/introspect", {"token": given["access_token"]}, *RS)).json() == {"active": False}
    again = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


async def test_a_token_of_another_client_stays(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API)
    for token in (given["access_token"], given["refresh_token"]):
        refused = await ana.post("/revoke", {"token": token}, "other")
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
        assert (await ana.post("/introspect", {"token": token})).json()["active"] is True


@pytest.mark.parametrize("token", ["unknown", "a.b.c", "x" * 3000, "ä"])
async def test_revoking_what_is_not_there_succeeds(provider: Provider, token: str) -> None:
    assert (await provider.browser().post("/revoke", {"token": token})).status_code == 200


async def test_a_client_s_own_token_can_be_revoked(provider: Provider) -> None:
    ana = provider.browser()
    given = (await ana.post("/token", {"grant_type": "client_credentials", "resource": API})).json()
    assert (await ana.post("/introspect", {"token": given["access_token"]}, *RS)).json()["active"] is True
    assert (await ana.post("/revoke", {"token": given["access_token"]})).status_code == 200
    assert (await ana.post("/introspect", {"token": given["access_token"]}, *RS)).json() == {"active": False}


# ----------------------------------------------------------------------------------------------- pushed requests


async def test_a_pushed_request_counts_once_and_for_its_client_only(provider: Provider) -> None:
    ana = provider.browser()
    answer = await ana.post("/par", idp.authorization(client_id=None, state="pushed"))
    assert answer.status_code == 201
    named = answer.json()
    assert named["expires_in"] == 90
    assert named["request_uri"].startswith("urn:ietf:params:oauth:request_uri:")
    stolen = await ana.http.get("/authorize", params={"client_id": "other", "request_uri": named["request_uri"]})
    assert stolen.status_code == 400
    page = await ana.http.get("/authorize", params={"client_id": "grafana", "request_uri": named["request_uri"]})
    assert page.status_code == 200
    sent = idp.parameters(await ana.submit(page, answer="yes"))
    assert sent["state"] == "pushed"
    assert (await ana.redeem(sent["code"])).status_code == 200
    again = await ana.http.get("/authorize", params={"client_id": "grafana", "request_uri": named["request_uri"]})
    assert again.status_code == 400
    assert "location" not in again.headers


async def test_a_pushed_request_expires(provider: Provider) -> None:
    ana = provider.browser()
    named = (await ana.post("/par", idp.authorization())).json()
    provider.clock[0] += 91
    page = await ana.http.get("/authorize", params={"client_id": "grafana", "request_uri": named["request_uri"]})
    assert page.status_code == 400


PUSHED: dict[str, tuple[dict[str, Any], str]] = {
    "another request": ({"request_uri": "urn:x"}, "invalid_request"),
    "another redirect": ({"redirect_uri": "https://evil.example"}, "invalid_request"),
    "no PKCE": ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    "plain PKCE": ({"code_challenge_method": "plain"}, "invalid_request"),
    "implicit": ({"response_type": "token"}, "unsupported_response_type"),
    "a request object": ({"request": "x"}, "request_not_supported"),
    "another service": ({"resource": "https://evil.example"}, "invalid_target"),
    "another client": ({"client_id": "other"}, "invalid_request"),
}


@pytest.mark.parametrize(("changes", "error"), PUSHED.values(), ids=PUSHED)
async def test_a_pushed_request_is_checked_as_any_other(
    provider: Provider, changes: dict[str, Any], error: str
) -> None:
    answer = await provider.browser().post("/par", idp.authorization(**changes))
    assert (answer.status_code, answer.json()["error"]) == (400, error)


# --------------------------------------------------------------------------------------------------------- devices


async def begin(provider: Provider, **asked: str) -> dict[str, Any]:
    answer = await provider.browser().post("/device_authorization", {"scope": "openid", **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def poll(provider: Provider, begun: dict[str, Any], client: str = "grafana") -> tuple[int, dict[str, Any]]:
    data = {"grant_type": device.GRANT_TYPE, "device_code": begun["device_code"]}
    answer = await provider.browser("bob").post("/token", data, client)
    return answer.status_code, answer.json()


async def test_a_person_connects_a_device(provider: Provider) -> None:
    begun = await begin(provider)
    assert begun["verification_uri"] == f"{provider.issuer}/device"
    assert begun["user_code"] in begun["verification_uri_complete"]
    assert (await poll(provider, begun))[1]["error"] == "authorization_pending"
    assert (await poll(provider, begun))[1]["error"] == "slow_down"
    ana = provider.browser()
    page = await ana.http.get(begun["verification_uri_complete"])
    assert begun["user_code"] in page.text
    confirm = await ana.submit(page)
    assert "grafana" in confirm.text
    done = await ana.submit(confirm, answer="yes")
    assert "is connected" in done.text
    provider.clock[0] += 15
    status, given = await poll(provider, begun)
    assert status == 200, given
    claims = compact.split(given["id_token"]).payload
    assert (claims["sub"], claims["aud"]) == ("userid:1", "grafana")
    assert (await poll(provider, begun))[1]["error"] == "invalid_grant"


async def test_a_person_says_no(provider: Provider) -> None:
    begun = await begin(provider)
    ana = provider.browser()
    page = await ana.http.get("/device")
    confirm = await ana.submit(page, user_code=begun["user_code"].lower().replace("-", " "))
    assert "was not connected" in (await ana.submit(confirm, answer="no")).text
    assert (await poll(provider, begun))[1]["error"] == "access_denied"


async def test_a_device_code_is_of_one_client_and_expires(provider: Provider) -> None:
    begun = await begin(provider)
    assert (await poll(provider, begun, "other"))[1]["error"] == "unauthorized_client"
    provider.clock[0] += 601
    assert (await poll(provider, begun))[1]["error"] == "expired_token"
    assert (await poll(provider, {"device_code": "unknown"}))[1]["error"] == "invalid_grant"


async def test_who_may_not_log_in_connects_nothing(provider: Provider) -> None:
    begun = await begin(provider)
    robot = provider.browser("robot")
    confirm = await robot.submit(await robot.http.get("/device"), user_code=begun["user_code"])
    assert confirm.status_code == 403


async def test_user_codes_cannot_be_tried_without_end(provider: Provider) -> None:
    ana = provider.browser()
    page = await ana.http.get("/device")
    seen = [(await ana.submit(page, user_code=f"BCDF-{letter * 4}")).status_code for letter in "BCDFGHJKLMNP"]
    assert seen[:10] == [404] * 10
    assert set(seen[10:]) == {429}


async def test_another_site_cannot_connect_a_device(provider: Provider) -> None:
    begun = await begin(provider)
    ana, mallory = provider.browser(), provider.browser("bob")
    theirs = await mallory.submit(await mallory.http.get("/device"), user_code=begun["user_code"])
    action, fields = idp.form(theirs)
    for sent in (fields, {**fields, "form": ""}, {"user_code": begun["user_code"]}):
        await ana.http.get("/device")
        answer = await ana.http.post(action, data={**sent, "answer": "yes"})
        assert answer.status_code == 403
    ours = await ana.http.get("/device")
    skipped = await ana.submit(ours, user_code=begun["user_code"], answer="yes")
    assert skipped.status_code == 403


async def test_only_clients_that_are_registered_for_it_have_devices(provider: Provider) -> None:
    answer = await provider.browser().post("/device_authorization", {"scope": "openid"}, "other")
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_who_proves_nothing_leaves_little_here(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(par, "RATE", 0.001)
    monkeypatch.setattr(par, "BURST", 3)
    provider.app = app.build(provider.runtime)
    ana = provider.browser()
    asked = idp.authorization(client_id="spa")
    assert [(await ana.http.post("/par", data=asked)).status_code for _ in range(5)] == [201] * 3 + [429] * 2
    assert (await ana.post("/par", idp.authorization())).status_code == 201


# ---------------------------------------------------------------------------------------------------- registration

METADATA = {"redirect_uris": [CALLBACK], "client_name": "Tool", "grant_types": ["authorization_code", "refresh_token"]}


async def test_a_client_registers_logs_somebody_in_and_is_managed(provider: Provider) -> None:
    ana = provider.browser()
    answer = await ana.http.post("/register", json=METADATA)
    assert answer.status_code == 201
    made = answer.json()
    assert made["client_secret_expires_at"] > exchange.NOW
    asked = idp.authorization(client_id=made["client_id"])
    page = await ana.http.get("/authorize", params=asked)
    assert page.status_code == 200
    code = idp.parameters(await ana.submit(page, answer="yes"))["code"]
    data = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": idp.VERIFIER}
    given = await ana.post("/token", data, made["client_id"], made["client_secret"])
    assert given.status_code == 200, given.text
    bearer = {"authorization": f"Bearer {made['registration_access_token']}"}
    shown = (await ana.http.get(made["registration_client_uri"], headers=bearer)).json()
    assert "client_secret" not in shown
    assert shown["client_name"] == "Tool"
    changed = {**METADATA, "client_id": made["client_id"], "client_name": "Better tool"}
    assert (await ana.http.put(made["registration_client_uri"], json=changed, headers=bearer)).json()[
        "client_name"
    ] == "Better tool"
    assert (await ana.http.delete(made["registration_client_uri"], headers=bearer)).status_code == 204
    for method in ("GET", "DELETE"):
        gone = await ana.http.request(method, made["registration_client_uri"], headers=bearer)
        assert gone.status_code == 401
    refresh = {"grant_type": "refresh_token", "refresh_token": given.json()["refresh_token"]}
    ended = await ana.post("/token", refresh, made["client_id"], made["client_secret"])
    assert (ended.status_code, ended.json()["error"]) == (401, "invalid_client")


async def test_people_are_warned_of_a_client_that_any_program_here_could_be(provider: Provider) -> None:
    ana = provider.browser()
    for uri, warned in (("http://127.0.0.1/cb", True), (CALLBACK, False)):
        made = (await ana.http.post("/register", json={**METADATA, "redirect_uris": [uri]})).json()
        asked = idp.authorization(client_id=made["client_id"], redirect_uri=uri)
        assert ("Nobody can tell" in (await ana.http.get("/authorize", params=asked)).text) is warned


async def test_registering_needs_a_capability_and_to_be_on(provider: Provider) -> None:
    refused = await provider.browser("bob").http.post("/register", json=METADATA)
    assert (refused.status_code, refused.json()["error"]) == (403, "access_denied")
    provider.load(APP)
    off = await provider.browser().http.post("/register", json=METADATA)
    assert (off.status_code, off.json()["tailseal_reason"]) == (403, "NotEnabled")


async def test_registrations_expire(provider: Provider) -> None:
    ana = provider.browser()
    made = (await ana.http.post("/register", json=METADATA)).json()
    provider.clock[0] += registration.SECONDS + 1
    answer = await ana.http.get("/authorize", params=idp.authorization(client_id=made["client_id"]))
    assert answer.status_code == 400


async def test_nobody_registers_without_end(provider: Provider) -> None:
    ana = provider.browser()
    seen = [(await ana.http.post("/register", json=METADATA)).status_code for _ in range(12)]
    assert seen == [201] * 10 + [429] * 2


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "Basic x"])
async def test_a_registration_is_managed_with_its_token_only(provider: Provider, token: str) -> None:
    ana = provider.browser()
    made = (await ana.http.post("/register", json=METADATA)).json()
    for path in (made["registration_client_uri"], f"{provider.issuer}/register/registered.unknown"):
        answer = await ana.http.get(path, headers={"authorization": token})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


async def test_a_registered_client_may_have_tokens_for_services_that_objects_name(provider: Provider) -> None:
    ana = provider.browser()
    made = (await ana.http.post("/register", json={**METADATA, "token_endpoint_auth_method": "none"})).json()
    page = await ana.http.get("/authorize", params=idp.authorization(client_id=made["client_id"], resource=API))
    code = idp.parameters(await ana.submit(page, answer="yes"))["code"]
    data = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": idp.VERIFIER}
    given = (await ana.http.post("/token", data={**data, "client_id": made["client_id"]})).json()
    assert compact.split(given["access_token"]).payload["aud"] == API


# ------------------------------------------------------------------------------------------------------- clients


async def test_administrators_see_clients_and_no_secret(provider: Provider) -> None:
    ana = provider.browser()
    listed = await ana.http.get("/clients/")
    assert [client["client_id"] for client in listed.json()] == ["api", "grafana", "opaque", "other", "spa"]
    assert (await ana.http.get("/clients/grafana")).json()["redirect_uris"] == [CALLBACK]
    assert (await ana.http.get("/clients/unknown")).status_code == 404
    assert (await provider.browser("bob").http.get("/clients/")).status_code == 403
    hashed = secrets.digest("grafana", oauthclients.SECRET)
    assert ClientSecret(digest=hashed) in (await provider.runtime.find_client("grafana")).secrets  # type: ignore[union-attr]
    assert hashed not in listed.text


async def test_every_decision_leaves_an_audit_line_and_no_secret_in_it(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(resource=API)
    await ana.post("/introspect", {"token": given["access_token"]}, *RS)
    await ana.post("/revoke", {"token": given["refresh_token"]})
    made = (await ana.http.post("/register", json=METADATA)).json()
    begun = await begin(provider)
    text = provider.audit.read_text()
    endpoints = [json.loads(line)["data"]["endpoint"] for line in text.splitlines()]
    assert {"introspect", "revoke", "register", "device_authorization", "token", "authorize"} <= set(endpoints)
    for secret in (
        given["access_token"],
        given["refresh_token"],
        made["client_secret"],
        made["registration_access_token"],
        begun["device_code"],
        begun["user_code"],
        oauthclients.SECRET,
    ):
        assert secret not in text
