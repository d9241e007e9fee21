"""Requests that nobody would write: whatever comes to an endpoint, it never fails by a fault of ours."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import idp, oauthclients
from fakes.idp import Provider
from tailseal.domain.bundle.model import Introductions
from tailseal.oauth import device

GRANTS: Final = ["authorization_code", "refresh_token", "client_credentials", device.GRANT_TYPE]
APP: Final = oauthclients.record(
    grantTypes=GRANTS, allow={"users": ["*@corp.example"]}, audiences=["https://a.example"]
)
PATHS: Final = [
    "/token",
    "/userinfo",
    "/authorize",
    "/authorize/confirm",
    "/introspect",
    "/revoke",
    "/par",
    "/device_authorization",
    "/device",
    "/register",
    "/register/x",
    "/clients/",
    "/clients/x",
    "/logout",
    "/logout/confirm",
    "/access/end",
    "/",
    "/issue",
    "/.well-known/jwks.json",
]
NAMES: Final = [
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "grant_type",
    "code",
    "code_verifier",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "response_type",
    "response_mode",
    "prompt",
    "max_age",
    "claims",
    "resource",
    "audience",
    "request",
    "request_uri",
    "token",
    "token_type_hint",
    "refresh_token",
    "device_code",
    "user_code",
    "subject_token",
    "subject_token_type",
    "id_token_hint",
    "form",
    "answer",
    "post_logout_redirect_uri",
    "login_hint",
    "dpop_jkt",
    "code_challenge",
    "code_challenge_method",
    "family",
    "registered",
    "actor_token",
]
VALUES: Final = st.one_of(
    st.sampled_from(
        [
            "grafana",
            oauthclients.SECRET,
            idp.CALLBACK,
            "code",
            "openid",
            "S256",
            idp.CHALLENGE,
            "a.b.c",
            "{}",
            "[" * 50,
            "0" * 32,
            "urn:ietf:params:oauth:request_uri:x",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            *GRANTS,
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ]
    ).map(str.encode),
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode(errors="surrogatepass")),
)
FIELDS: Final = st.lists(st.tuples(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), VALUES), max_size=12)
HEADERS: Final = st.dictionaries(
    st.sampled_from(["authorization", "dpop", "accept", "cookie", "content-type", "x-forwarded-for", "if-none-match"]),
    st.one_of(
        st.sampled_from(
            ["Bearer a.b.c", "Basic Z3JhZmFuYTp4", "DPoP x", "application/json", "100.64.0.2", "__Host-x=y"]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30),
    ),
    max_size=4,
)


class Fuzzed:
    """A provider, and the loop that it runs in."""

    def __init__(self, provider: Provider, runner: asyncio.Runner) -> None:
        self.provider, self.runner = provider, runner

    def send(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> int:
        async def one() -> int:
            browser = self.provider.browser()
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            url = path if method in {"POST", "PUT"} else f"{path}?{content.decode('latin-1')}"
            answer = await browser.http.request(method, url, content=content, headers=raw)
            assert "Traceback" not in answer.text
            return answer.status_code

        return self.runner.run(one())


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        context = idp.running(Path(folder), APP, introductions=Introductions(dynamic=True))
        provider = runner.run(context.__aenter__())
        yield Fuzzed(provider, runner)
        runner.run(context.__aexit__(None, None, None))


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    path=st.sampled_from(PATHS),
    fields=FIELDS,
    headers=HEADERS,
    form=st.booleans(),
)
def test_no_request_makes_an_endpoint_fail(
    fuzzed: Fuzzed, method: str, path: str, fields: list[tuple[str, bytes]], headers: dict[str, str], *, form: bool
) -> None:
    pairs = [
        f"{quote_from_bytes(name.encode(errors='surrogatepass'))}={quote_from_bytes(value)}" for name, value in fields
    ]
    sent = {**headers, "content-type": "application/x-www-form-urlencoded"} if form else headers
    assert fuzzed.send(method, path, "&".join(pairs).encode(), sent) < 500


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
METADATA: Final = [
    "redirect_uris",
    "grant_types",
    "response_types",
    "scope",
    "client_name",
    "jwks",
    "jwks_uri",
    "token_endpoint_auth_method",
    "logo_uri",
    "contacts",
    "post_logout_redirect_uris",
    "backchannel_logout_uri",
    "id_token_signed_response_alg",
    "subject_type",
    "software_statement",
]


@settings(max_examples=200, deadline=None)
@given(document=st.dictionaries(st.sampled_from(METADATA), JSON, max_size=8))
def test_no_metadata_make_a_registration_fail(fuzzed: Fuzzed, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    assert fuzzed.send("POST", "/register", body, {"content-type": "application/json"}) < 500
