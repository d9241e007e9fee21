"""The OpenAPI document is of what runs: the same routes and methods, and no answer that it does not foresee."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from starlette.applications import Starlette
from starlette.routing import Route

from fakes import exchange, idp, oauthclients, sts
from tailseal.domain.bundle.model import Introductions, TailscaleUpstream, Upstream
from tailseal.oauth import device
from tailseal.tokens.request import GRANT_TYPE as EXCHANGE
from tailseal.workers.sts import app as sts_app

DOCUMENT: Final = yaml.safe_load((Path(idp.__file__).parents[2] / "docs" / "openapi.yaml").read_text())
METHODS: Final = ("get", "post", "put", "patch", "delete")
EVERY_METHOD: Final = {"/_healthz"}
CHECKS: Final = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
OF_ANSWERS: Final = {"responses", "Client", "Error", "JWKS", "Tokens", "Word"}
REFERRED: Final = {f"#/components/parameters/{name}": name != "DPoP" for name in DOCUMENT["components"]["parameters"]}
OF_REQUESTS: Final = ("method", "url", "headers", "params", "data", "json", "cookies")
EXAMPLES: Final = 15
GRANTS: Final = ["authorization_code", "refresh_token", "client_credentials", device.GRANT_TYPE]

APP: Final = oauthclients.record(
    grantTypes=GRANTS,
    scopes=["openid", "profile", "email", "offline_access"],
    audiences=["https://a.example"],
    postLogoutRedirectURIs=["https://app.example/bye"],
    allow={"users": ["*@corp.example"]},
)


def document(worker: str) -> dict[str, Any]:
    """What a worker has of it."""
    found: dict[str, Any] = copy.deepcopy(DOCUMENT)
    for item in found["paths"].values():
        for method in set(item) & set(METHODS):
            if worker not in item[method].get("x-tailseal-workers", (worker,)):
                del item[method]
    found["paths"] = {path: item for path, item in found["paths"].items() if set(item) & set(METHODS)}
    return found


OPERATIONS: Final = [
    (worker, path, method)
    for worker in ("idp", "sts")
    for path, item in document(worker)["paths"].items()
    for method in METHODS
    if method in item
]


class Workers:
    """Both, on one loop, in memory."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self._running = idp.running(folder, APP, introductions=Introductions(dynamic=True))
        self.provider = self.runner.run(self._running.__aenter__())
        self.house = sts.House()
        upstream = Upstream(name="ts", tailscale=TailscaleUpstream(api_url="https://ts.example", credential="ts"))
        under = exchange.SETTINGS.model_copy(update={"upstreams": (upstream,), "tailsts_upstream": "ts"})
        tail = {"name": "tail", "tailscale": {"upstream": "ts", "scopes": ["devices:core:read"]}}
        self.house.current = sts.snapshot(under, exchange.SPEC | {"grants": [*exchange.SPEC["grants"], tail]})
        self.apps = {"idp": self.provider.app, "sts": sts_app.build(self.house.runtime())}
        self._count = itertools.count(1)
        self.registered = self.runner.run(self._register())

    def close(self) -> None:
        self.runner.run(self._running.__aexit__(None, None, None))
        self.runner.close()

    async def _register(self) -> dict[str, Any]:
        answer = await self.provider.browser().http.post("/register", json={"redirect_uris": [idp.CALLBACK]})
        return dict(answer.json())

    async def login(self) -> tuple[dict[str, list[Any]], dict[str, str]]:
        """Values with which requests get further than with made-up ones, and proofs by the names of their schemes."""
        ana = self.provider.browser()
        tokens = await ana.tokens(scope="openid offline_access", prompt="consent")
        begun = (await ana.post("/device_authorization", {"scope": "openid"})).json()
        codes = [await ana.login() for _ in range(3)]
        grants = [*GRANTS, EXCHANGE]
        known: dict[str, list[Any]] = {
            "client_id": [oauthclients.ID],
            "grant_type": grants,
            "code": codes,
            "response_type": ["code"],
            "response_mode": ["query", "fragment", "form_post"],
            "code_challenge": [idp.CHALLENGE],
            "code_challenge_method": ["S256"],
            "code_verifier": [idp.VERIFIER],
            "device_code": [begun["device_code"]],
            "user_code": [begun["user_code"], "x"],
            "redirect_uri": [idp.CALLBACK],
            "redirect_uris": [[idp.CALLBACK]],
            "post_logout_redirect_uri": ["https://app.example/bye"],
            "prompt": ["none", "login", "consent", ""],
            "scope": ["openid", "openid offline_access", "read", ""],
            "scopes": [["devices:core:read"]],
            "access_token": [tokens["access_token"]],
            "refresh_token": [tokens["refresh_token"]],
            "id_token_hint": [tokens["id_token"], ""],
            "token": [tokens["access_token"], tokens["refresh_token"], "x"],
            "subject_token": [exchange.token(), tokens["access_token"]],
            "subject_token_type": [exchange.JWT_TYPE],
            "claims": ['{"userinfo":{"email":null}}', ""],
            "If-None-Match": ["*", '"x"'],
        }
        own = httpx.BasicAuth(oauthclients.ID, oauthclients.SECRET)._auth_header
        proofs = {
            "clientSecret": own,
            "accessToken": f"Bearer {tokens['access_token']}",
            "registrationToken": f"Bearer {self.registered['registration_access_token']}",
            "subjectToken": f"Bearer {exchange.token()}",
        }
        return known, proofs

    def send(self, worker: str, method: str, url: str, headers: Mapping[str, Any], content: bytes) -> httpx.Response:
        """A request, each from an address of its own: limits are not what is looked for."""
        number = next(self._count)
        address = f"127.0.{number >> 8 & 255}.{number & 255}"
        transport = httpx.ASGITransport(self.apps[worker], client=(address, number))

        async def one() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url=idp.ISSUER) as client:
                return await client.request(method, url, headers=headers, content=content)

        return self.runner.run(one())


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    made = Workers(tmp_path_factory.mktemp("workers"))
    yield made
    made.close()


def documented(path: str) -> str:
    return path.replace(":path}", "}")


@pytest.mark.parametrize("worker", ["idp", "sts"])
def test_it_has_the_paths_of_the_running_application_and_no_other(workers: Workers, worker: str) -> None:
    app = workers.apps[worker]
    assert isinstance(app, Starlette)
    routes = {documented(route.path) for route in app.routes if isinstance(route, Route)}
    assert len(app.routes) == len(routes)
    assert set(document(worker)["paths"]) == routes


@pytest.mark.parametrize("worker", ["idp", "sts"])
def test_it_has_the_methods_that_are_answered_and_no_other(workers: Workers, worker: str) -> None:
    for path, item in document(worker)["paths"].items():
        if path in EVERY_METHOD:
            continue
        url = path.replace("{client_id}", "x").replace("{above}", "x").replace("{below}", "x")
        answered = {
            method for method in METHODS if workers.send(worker, method.upper(), url, {}, b"").status_code != 405
        }
        assert answered == set(item) & set(METHODS), path


@pytest.mark.parametrize("worker", ["idp", "sts"])
@pytest.mark.parametrize("path", ["/nothing", "/clients", "/.well-known/openid-configuration/a%0Ab"])
def test_what_is_not_there_is_told_in_json(workers: Workers, worker: str, path: str) -> None:
    answer = workers.send(worker, "GET", path, {"accept": "text/html"}, b"")
    assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def test_it_is_a_valid_document_in_which_every_part_is_used() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    text = str(DOCUMENT)
    for kind, parts in DOCUMENT["components"].items():
        for name in parts:
            assert f"#/components/{kind}/{name}'" in text or kind == "securitySchemes", name


def with_known(node: Any, known: Mapping[str, list[Any]]) -> Any:  # noqa: ANN401 - any part of the document
    """The document, where every parameter has a value that somebody was given, and there are no others."""
    if isinstance(node, list):
        return [with_known(each, known) for each in node]
    if not isinstance(node, dict):
        return node
    made = {name: each if name in OF_ANSWERS else with_known(each, known) for name, each in node.items()}
    made.pop("security", None)
    if "in" in made and made.get("name") in known:
        return made | {"required": True, "schema": {"enum": known[made["name"]]}}
    if isinstance(made.get("parameters"), list):
        made["parameters"] = [
            each for each in made["parameters"] if each.get("name") in known or REFERRED.get(each.get("$ref"))
        ]
    if isinstance(made.get("properties"), dict):
        made["properties"] = {name: {"enum": known[name]} for name in made["properties"] if name in known}
        made |= {"required": [*made["properties"]]} | ({"additionalProperties": False} if made["properties"] else {})
    return made


def cases(workers: Workers, worker: str, path: str, method: str) -> st.SearchStrategy[tuple[Case[Any], str]]:
    """Requests that the document allows, that it does not, and that get further; with these, what proves the caller."""
    known, proofs = workers.runner.run(workers.login())
    if path.startswith("/register"):
        known["client_id"] = [workers.registered["client_id"]]
    made_up = schemathesis.openapi.from_dict(document(worker))[path][method]
    given_out = schemathesis.openapi.from_dict(with_known(document(worker), known))[path][method]
    security = DOCUMENT["paths"][path][method].get("security", [{}])
    proof = st.sampled_from([proofs.get(next(iter(each), ""), "") for each in security])
    return st.one_of(
        st.tuples(made_up.as_strategy(), st.just("")),
        st.tuples(made_up.as_strategy(GenerationMode.NEGATIVE), st.just("")),
        st.tuples(given_out.as_strategy(), proof),
    )


@pytest.mark.parametrize(("worker", "path", "method"), OPERATIONS)
def test_every_answer_is_one_that_it_foresees(workers: Workers, worker: str, path: str, method: str) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck]
    )
    @given(found=cases(workers, worker, path, method))
    def answered(found: tuple[Case[Any], str]) -> None:
        case, proof = found
        sent = case.as_transport_kwargs(idp.ISSUER)
        asked = requests.Request(**{name: sent.get(name) for name in OF_REQUESTS}).prepare()
        headers: dict[str, Any] = {**asked.headers} | ({"authorization": proof} if proof else {})
        content = asked.body.encode() if isinstance(asked.body, str) else asked.body or b""
        assert isinstance(content, bytes)
        assert asked.url
        answer = workers.send(worker, method.upper(), asked.url, headers, content)
        case.validate_response(answer, checks=CHECKS)

    answered()
