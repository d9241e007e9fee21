"""The plans of the OpenID Foundation's suite, module by module, as tests of our own (docs/conformance.md)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import exchange, idp, oauthclients
from fakes.idp import CALLBACK, Browser, Provider
from tailseal.domain.bundle.model import Introductions
from tailseal.oauth import registration
from tailseal.tokens import compact
from tailseal.tokens.keyset import parse_jwks

ROOT = Path(idp.__file__).parents[2]
EVERYBODY = {"users": ["*@corp.example"]}
QUERY = "https://app.example/cb?a=1"
APP = oauthclients.record(
    redirectURIs=[CALLBACK, QUERY],
    scopes=["openid", "profile", "email", "offline_access"],
    allow=EVERYBODY,
    pkce="OptionalWithNonce",
)
MODES = pytest.mark.parametrize("mode", ["query", "form_post"])
KEYS = parse_jwks({"keys": [exchange.jwk(exchange.rsa_key("idp"), "RS256", "RS256")]})


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, introductions=Introductions(dynamic=True)) as made:
        yield made


@pytest.fixture
def ana(provider: Provider) -> Browser:
    return provider.browser()


def answered(answer: httpx.Response, mode: str) -> dict[str, str]:
    """What the client is sent, in the mode that it asked for."""
    if mode == "query":
        assert answer.status_code == 303, answer.text
        return idp.parameters(answer)
    assert answer.status_code == 200
    assert f'action="{CALLBACK}"' in answer.text
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.text)
    return {name: unescape(value) for name, value in fields}


async def asked(ana: Browser, mode: str, **changes: Any) -> dict[str, str]:  # noqa: ANN401 - any parameter
    """What comes of a request; a page is answered with yes."""
    sent = idp.authorization(**{"nonce": "n1", "response_mode": None if mode == "query" else mode} | changes)
    answer = await ana.http.get("/authorize", params=sent)
    if "<button" in answer.text and 'name="answer"' in answer.text:
        answer = await ana.submit(answer, answer="yes")
    return answered(answer, mode)


async def logged_in(ana: Browser, mode: str = "query", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Tokens of a whole login, and what they say."""
    sent = await asked(ana, mode, **changes)
    given = (await ana.redeem(sent["code"], **({"code_verifier": ""} if "code_challenge" in changes else {}))).json()
    token = compact.split(given["id_token"])
    assert (token.header["alg"], token.header["kid"]) == ("RS256", "RS256")
    assert KEYS.find("RS256", "RS256").verify(token.signing_input, token.signature)
    claims = token.payload
    assert (claims["iss"], claims["aud"], claims["sub"]) == (idp.ISSUER, "grafana", "userid:1")
    assert claims.get("nonce") == changes.get("nonce", "n1")
    assert claims["exp"] > exchange.NOW
    bearer = {"authorization": f"Bearer {given['access_token']}"}
    said = (await ana.http.get("/userinfo", headers=bearer)).json()
    assert said["sub"] == claims["sub"]
    return {**given, "claims": claims, "userinfo": said}


# --------------------------------------------------------------------------------- basic plan, and form post plan

SUCCEED: Mapping[str, dict[str, Any]] = {
    "oidcc-server": {},
    "oidcc-idtoken-signature": {},
    "oidcc-alternate-happy-flow": {"scope": "email openid profile"},
    "oidcc-ensure-other-scope-order-succeeds": {"scope": "email openid"},
    "oidcc-ensure-request-without-nonce-succeeds-for-code-flow": {"nonce": None},
    "oidcc-ensure-request-with-valid-pkce-succeeds": {},
    "oidcc-ensure-request-with-unknown-parameter-succeeds": {"extra": "foobar"},
    "oidcc-ensure-request-with-acr-values-succeeds": {"acr_values": "1 2"},
    "oidcc-scope-address": {"scope": "openid address"},
    "oidcc-scope-phone": {"scope": "openid phone"},
    "oidcc-display-page": {"display": "page"},
    "oidcc-display-popup": {"display": "popup"},
    "oidcc-ui-locales": {"ui_locales": "se"},
    "oidcc-claims-locales": {"claims_locales": "se"},
    "oidcc-login-hint": {"login_hint": "ana@corp.example"},
    "oidcc-max-age-10000": {"max_age": "10000"},
}


@MODES
@pytest.mark.parametrize("changes", SUCCEED.values(), ids=SUCCEED)
async def test_what_has_to_succeed_does(ana: Browser, mode: str, changes: dict[str, Any]) -> None:
    await logged_in(ana, mode, **changes)


async def test_a_client_without_pkce_logs_people_in_by_its_nonce(ana: Browser) -> None:
    await logged_in(ana, code_challenge=None, code_challenge_method=None)


@MODES
@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("openid profile", {"name", "preferred_username"}),
        ("openid email", {"email", "email_verified"}),
        ("openid profile email address phone", {"name", "preferred_username", "email", "email_verified"}),
    ],
    ids=["oidcc-scope-profile", "oidcc-scope-email", "oidcc-scope-all"],
)
async def test_scopes_tell_their_claims(ana: Browser, mode: str, scope: str, names: set[str]) -> None:
    assert names <= (await logged_in(ana, mode, scope=scope))["userinfo"].keys()


@MODES
async def test_oidcc_claims_essential(ana: Browser, mode: str) -> None:
    given = await logged_in(ana, mode, claims='{"userinfo":{"name":{"essential":true}}}', scope="openid profile")
    assert given["userinfo"]["name"] == "Ana"


@MODES
async def test_oidcc_response_type_missing(ana: Browser, mode: str) -> None:
    assert (await asked(ana, mode, response_type=None))["error"] == "invalid_request"


@MODES
async def test_oidcc_ensure_post_request_succeeds(ana: Browser, mode: str) -> None:
    await logged_in(ana)
    sent = idp.authorization(response_mode=mode)
    assert "code" in answered(await ana.http.post("/authorize", data=sent), mode)


@MODES
async def test_oidcc_prompt_none_not_logged_in(ana: Browser, mode: str) -> None:
    assert (await asked(ana, mode, prompt="none"))["error"] == "login_required"


@MODES
async def test_oidcc_prompt_none_logged_in(ana: Browser, mode: str) -> None:
    first = await logged_in(ana, mode)
    second = await logged_in(ana, mode, prompt="none")
    assert first["claims"]["auth_time"] == second["claims"]["auth_time"]
    hinted = await logged_in(ana, mode, prompt="none", id_token_hint=first["id_token"])  # oidcc-id-token-hint
    assert hinted["claims"]["sub"] == first["claims"]["sub"]


@MODES
@pytest.mark.parametrize(
    "changes", [{"prompt": "login"}, {"max_age": "1"}], ids=["oidcc-prompt-login", "oidcc-max-age-1"]
)
async def test_people_are_asked_again(ana: Browser, provider: Provider, mode: str, changes: dict[str, str]) -> None:
    first = await logged_in(ana, mode)
    provider.clock[0] += 2
    page = await ana.http.get("/authorize", params=idp.authorization(**changes))
    assert page.status_code == 200
    second = await logged_in(ana, mode, **changes)
    assert second["claims"]["auth_time"] > first["claims"]["auth_time"]


@pytest.mark.parametrize("seconds", [0, 30], ids=["oidcc-codereuse", "oidcc-codereuse-30seconds"])
async def test_a_code_is_taken_once(ana: Browser, provider: Provider, seconds: float) -> None:
    code = (await asked(ana, "query"))["code"]
    given = (await ana.redeem(code)).json()
    provider.clock[0] += seconds
    assert (await ana.redeem(code)).json()["error"] == "invalid_grant"
    bearer = {"authorization": f"Bearer {given['access_token']}"}
    assert (await ana.http.get("/userinfo", headers=bearer)).status_code == 401


async def test_oidcc_userinfo_get_and_post(ana: Browser) -> None:
    token = (await logged_in(ana))["access_token"]
    header = {"authorization": f"Bearer {token}"}
    for answer in (
        await ana.http.get("/userinfo", headers=header),
        await ana.http.post("/userinfo", headers=header),
        await ana.http.post("/userinfo", data={"access_token": token}),
    ):
        assert answer.json()["sub"] == "userid:1"


async def test_oidcc_server_client_secret_post(ana: Browser) -> None:
    code = (await asked(ana, "query"))["code"]
    data = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": idp.VERIFIER,
        "client_id": "grafana",
        "client_secret": oauthclients.SECRET,
    }
    assert (await ana.http.post("/token", data=data)).status_code == 200


@MODES
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request", "eyJhbGciOiJub25lIn0.e30."),
        ("request", "eyJhbGciOiJub25lIn0.eyJyZWRpcmVjdF91cmkiOiJodHRwczovL2FwcC5leGFtcGxlL2NiIn0."),
        ("request_uri", "https://app.example/request"),
        ("request_uri", "https://app.example/request#digest"),
        ("request_uri", "https://app.example/signed"),
    ],
    ids=[
        "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported",
        "oidcc-ensure-request-object-with-redirect-uri",
        "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported",
        "oidcc-request-uri-unsigned",
        "oidcc-request-uri-signed-rs256",
    ],
)
async def test_request_objects_are_refused_by_name(ana: Browser, mode: str, name: str, value: str) -> None:
    assert (await asked(ana, mode, **{name: value}))["error"] == f"{name}_not_supported"


@pytest.mark.parametrize(
    "uri",
    ["https://app.example/other", f"{CALLBACK}?b=2", f"{CALLBACK}?a=2", f"{CALLBACK}#x", None],
    ids=[
        "oidcc-ensure-registered-redirect-uri",
        "oidcc-redirect-uri-query-added",
        "oidcc-redirect-uri-query-mismatch",
        "oidcc-redirect-uri-fragment",
        "oidcc-ensure-redirect-uri-in-authorization-request",
    ],
)
async def test_a_redirect_uri_that_is_not_registered_is_a_page(ana: Browser, uri: str | None) -> None:
    answer = await ana.http.get("/authorize", params=idp.authorization(redirect_uri=uri))
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert answer.headers["content-type"].startswith("text/html")


async def test_oidcc_redirect_uri_query_ok(ana: Browser) -> None:
    page = await ana.http.get("/authorize", params=idp.authorization(redirect_uri=QUERY))
    sent = idp.parameters(await ana.submit(page, answer="yes"))
    assert (sent["a"], "code" in sent) == ("1", True)


async def test_oidcc_refresh_token(ana: Browser) -> None:
    given = await logged_in(ana, scope="openid offline_access")
    data = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    fresh = (await ana.post("/token", data)).json()
    claims = compact.split(fresh["id_token"]).payload
    assert {name: claims[name] for name in ("iss", "sub", "aud", "auth_time")} == {
        name: given["claims"][name] for name in ("iss", "sub", "aud", "auth_time")
    }
    assert "nonce" not in claims


# ------------------------------------------------------------------------------------------ config and dynamic plans


async def test_oidcc_discovery_endpoint_verification(ana: Browser, provider: Provider) -> None:
    found = (await ana.http.get("/.well-known/openid-configuration")).json()
    assert found["issuer"] == provider.issuer
    for name, value in found.items():
        if name.endswith(("_endpoint", "_uri")):
            assert value.startswith(f"{provider.issuer}/"), name
        assert value not in ([], ""), name
    assert "RS256" in found["id_token_signing_alg_values_supported"]
    assert "none" not in json.dumps(found["id_token_signing_alg_values_supported"])
    assert {"openid", "profile", "email"} <= set(found["scopes_supported"])
    assert {"code"} == set(found["response_types_supported"])
    assert found["claims_parameter_supported"] is True
    assert found["end_session_endpoint"] == f"{provider.issuer}/logout"
    assert found["backchannel_logout_supported"] is found["backchannel_logout_session_supported"] is True
    keys = (await ana.http.get(found["jwks_uri"])).json()["keys"]
    assert len({key["kid"] for key in keys}) == len(keys)
    assert not any({"d", "p", "q", "k"} & key.keys() for key in keys)


REGISTRATIONS: Mapping[str, tuple[dict[str, Any], int]] = {
    "oidcc-server": ({}, 201),
    "oidcc-idtoken-rs256": ({"id_token_signed_response_alg": "RS256"}, 201),
    "oidcc-idtoken-unsigned": ({"id_token_signed_response_alg": "none"}, 400),
    "oidcc-registration-logo-uri": ({"logo_uri": "https://app.example/logo.png"}, 201),
    "oidcc-registration-policy-uri": ({"policy_uri": "https://app.example/policy"}, 201),
    "oidcc-registration-tos-uri": ({"tos_uri": "https://app.example/tos"}, 201),
    "oidcc-registration-jwks-uri": (
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example/jwks"},
        201,
    ),
    "oidcc-redirect-uri-regfrag": ({"redirect_uris": ["https://app.example/cb#x"]}, 400),
    "oidcc-registration-sector-bad": ({"subject_type": "pairwise"}, 400),
    "oidcc-registration-sector-uri": (
        {"subject_type": "pairwise", "sector_identifier_uri": "https://app.example/redirect_uris.json"},
        400,
    ),
}


@pytest.mark.parametrize(("changes", "status"), REGISTRATIONS.values(), ids=REGISTRATIONS)
async def test_clients_register_as_the_dynamic_plan_has_it(ana: Browser, changes: dict[str, Any], status: int) -> None:
    answer = await ana.http.post("/register", json={"redirect_uris": [CALLBACK], **changes})
    assert answer.status_code == status, answer.text
    if status == 201:
        made = answer.json()
        assert {name: made[name] for name in changes} == changes
        assert made["client_id"].startswith(registration.PREFIX)


async def test_oidcc_userinfo_rs256_is_not_promised(ana: Browser) -> None:
    sent = {"redirect_uris": [CALLBACK], "userinfo_signed_response_alg": "RS256"}
    answer = await ana.http.post("/register", json=sent)
    assert answer.status_code == 201
    assert "userinfo_signed_response_alg" not in answer.json()
    found = (await ana.http.get("/.well-known/openid-configuration")).json()
    assert "userinfo_signing_alg_values_supported" not in found


# ------------------------------------------------------------------------------------------------------ the page


PLANS: Mapping[str, str] = {
    "Basic OP, and form post OP": """
        server response-type-missing idtoken-signature idtoken-unsigned userinfo-get userinfo-post-header
        userinfo-post-body ensure-request-without-nonce-succeeds-for-code-flow scope-profile scope-email scope-address
        scope-phone scope-all ensure-other-scope-order-succeeds display-page display-popup prompt-login
        prompt-none-not-logged-in prompt-none-logged-in max-age-1 max-age-10000
        ensure-request-with-unknown-parameter-succeeds id-token-hint login-hint ui-locales claims-locales
        ensure-request-with-acr-values-succeeds codereuse codereuse-30seconds ensure-registered-redirect-uri
        ensure-post-request-succeeds server-client-secret-post claims-essential
        request-uri-unsigned-supported-correctly-or-rejected-as-unsupported
        unsigned-request-object-supported-correctly-or-rejected-as-unsupported
        ensure-request-object-with-redirect-uri refresh-token ensure-request-with-valid-pkce-succeeds""",
    "Config OP": "discovery-endpoint-verification",
    "Dynamic OP": """
        idtoken-rs256 idtoken-unsigned userinfo-rs256 ensure-redirect-uri-in-authorization-request
        redirect-uri-query-OK redirect-uri-query-mismatch redirect-uri-query-added redirect-uri-regfrag
        discovery-endpoint-verification server registration-logo-uri registration-policy-uri registration-tos-uri
        registration-jwks-uri registration-sector-uri registration-sector-bad server-rotate-keys
        refresh-token-rp-key-rotation request-uri-unsigned request-uri-signed-rs256
        ensure-request-object-with-redirect-uri refresh-token ensure-client-assertion-with-iss-aud-succeeds""",
    "Logout": """
        rp-initiated-logout-discovery-endpoint-verification rp-initiated-logout
        rp-initiated-logout-bad-post-logout-redirect-uri rp-initiated-logout-modified-id-token-hint
        rp-initiated-logout-no-id-token-hint rp-initiated-logout-no-params
        rp-initiated-logout-no-post-logout-redirect-uri rp-initiated-logout-no-state rp-initiated-logout-only-state
        rp-initiated-logout-query-added-to-post-logout-redirect-uri rp-initiated-logout-bad-id-token-hint
        backchannel-logout-discovery-endpoint-verification backchannel-rp-initiated-logout""",
}
"""Modules of each plan, as the suite's own source lists them (`OIDCCBasicTestPlan.java` and so on)."""


@pytest.mark.parametrize("section", PLANS)
def test_no_module_of_a_plan_is_missing_on_the_checklist(section: str) -> None:
    page = (ROOT / "docs" / "conformance.md").read_text()
    part = page.partition(f"## {section}\n")[2].partition("\n## ")[0]
    assert {f"oidcc-{module}" for module in PLANS[section].split()} <= set(re.findall(r"`(oidcc-[\w-]+)`", part))


def test_the_checklist_names_every_module_here_and_only_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text()
    here = Path(__file__).read_text()
    for module in {*SUCCEED, *REGISTRATIONS, *re.findall(r'"(oidcc-[\w-]+)"', here)}:
        assert f"`{module}`" in page, module
    named = set(re.findall(r"\btests/[^`\s|]+", page))
    assert len(named) > 20
    for reference in named:
        file, _, name = reference.partition("::")
        assert name, f"{reference}: a file alone does not say which of its tests it is"
        assert f"def {name}(" in (ROOT / file).read_text(), reference
