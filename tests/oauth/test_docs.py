"""The page about the provider's endpoints says what there is, and its examples are good."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from starlette.routing import Route

from fakes import idp, trust
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.validation import parse_spec
from tailseal.domain.bundle.model import ClientRecord
from tailseal.domain.clients.compile import compile_client
from tailseal.oauth import registration, resource
from tailseal.workers.embedded import manifests
from tailseal.workers.embedded.household import Reader
from tailseal.workers.idp import others, register

ROOT = Path(idp.__file__).parents[2]
PAGE = (ROOT / "docs" / "endpoints.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^ *```{kind}\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)


async def test_every_endpoint_is_on_the_page(tmp_path: Path) -> None:
    async with idp.running(tmp_path) as provider:
        routes: list[Any] = others.routes(provider.runtime)
    paths = {route.path for route in routes if isinstance(route, Route)}
    pages_own = {"/logout/confirm", "/access/end"}
    for path in paths - pages_own:
        shown = path.replace("{client_id:path}", "{id}").replace("{client_id}", "{id}")
        assert f"{shown}`" in PAGE, shown


def test_its_client_is_one_and_its_registration_is_open() -> None:
    client, opened = (yaml.safe_load(block) for block in blocks("yaml"))
    record = ClientRecord(namespace="team-a", name="billing", uid="u", generation=1, spec=client["spec"])
    assert compile_client(record, trust.settings(bounds=(CLIENTS,))).resources == {"https://billing.corp.example"}
    spec = {"issuer": trust.OURS, "signingKeys": [{"name": "k"}], **opened}
    assert parse_spec(IdentityProviderSpec, spec).registration.dynamic == "Enabled"


CLIENTS = trust.ANYTHING.model_copy(update={"grant_types": ("client_credentials",), "redirect_hosts": ()})


def test_its_python_runs() -> None:
    (code,) = blocks("python")
    lines = [line.strip() for line in code.splitlines()]
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    assert resource.location(names["MCP"]) in code


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"{registration.SECONDS // 86_400} days" in PAGE
    assert f"{registration.MOST} for each caller, ten at once and one a minute" in PAGE
    assert (register.BURST, register.RATE) == (10, 1 / 60)


def test_the_folder_for_the_conformance_suite_has_nothing_wrong_with_it() -> None:
    household = Reader().read(manifests.read(ROOT / "examples" / "conformance"))
    assert household.problems == ()
    assert [client.name for client in household.clients.usable] == ["first", "second"]
