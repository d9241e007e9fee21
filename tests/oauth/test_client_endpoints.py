"""What clients ask of the provider beside tokens: introspection, revocation, pushed requests."""

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
from tailseal.oauth import device, introspection
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
SPA = oauthclients.record("spa", type="Public", grantTypes=["authorization_code", device.GRANT_TYPE])
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
    data = idp.redemption(code)
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


async def test_who_proves_nothing_leaves_little_here(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(par, "RATE", 0.001)
    monkeypatch.setattr(par, "BURST", 3)
    provider.app = app.build(provider.runtime)
    ana = provider.browser()
    asked = idp.authorization(client_id="spa")
    assert [(await ana.http.post("/par", data=asked)).status_code for _ in range(5)] == [201] * 3 + [429] * 2
    assert (await ana.post("/par", idp.authorization())).status_code == 201


async def test_a_client_in_a_browser_begins_without_a_server_of_its_own(provider: Provider) -> None:
    ana, origin = provider.browser(), {"origin": "https://spa.example"}
    asked = {
        "/par": (idp.authorization(client_id="spa"), "request_uri"),
        "/device_authorization": ({"client_id": "spa", "scope": "openid"}, "user_code"),
    }
    for path, (form, told) in asked.items():
        may = await ana.http.options(path, headers={**origin, "access-control-request-headers": "dpop"})
        assert may.status_code == 204
        assert may.headers["access-control-allow-methods"] == "POST"
        assert may.headers["access-control-allow-headers"] == "*, authorization"
        answer = await ana.http.post(path, data=form, headers=origin)
        assert told in answer.json(), answer.text
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


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
    made = (await ana.http.post("/register", json={"redirect_uris": [CALLBACK]})).json()
    begun = (await ana.post("/device_authorization", {"scope": "openid"})).json()
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
