"""The examples for applications run as they are, but for their ports."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from fakes import served
from fakes.idp import CHALLENGE, VERIFIER, form
from tailseal_dev.ports import free_ports
from tailseal_dev.process import start, stop

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = (EXAMPLES.parent / "docs" / "login.md").read_text()
BACK = "http://127.0.0.1:9999/callback"


@contextmanager
def mcp(folder: Path, base: str, port: int) -> Iterator[str]:
    url = f"http://127.0.0.1:{port}/mcp"
    argv = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES / "mcp"), "--port", str(port), "server:app"]
    process = start(argv, folder / "mcp.log", os.environ | {"ISSUER": base, "MCP": url})
    try:
        for _ in range(1800):
            try:
                httpx.get(url)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        stop(process, grace=5)


def test_an_agent_finds_its_way_from_an_mcp_server_to_a_token_for_it(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    base = served.base_url()
    text = (EXAMPLES / "mcp" / "provider.yaml").read_text()
    text = text.replace("http://127.0.0.1:8080", base).replace("http://127.0.0.1:9000", f"http://127.0.0.1:{port}")
    with served.serving(tmp_path, base, list(yaml.safe_load_all(text))), mcp(tmp_path, base, port) as url:
        metadata = _found(url)
        tokens = _logged_in(metadata, url)
        assert call(url, tokens["access_token"], "initialize")["serverInfo"]["name"] == "whoami"
        told = call(url, tokens["access_token"], "tools/call", name="whoami", arguments={})
        assert told["content"] == [{"type": "text", "text": "userid:1 by agent"}]
        for other in (tokens["id_token"], _logged_in(metadata, "")["access_token"], "x"):
            refused = _post(url, other, "tools/list")
            assert (refused.status_code, "invalid_token" in refused.headers["www-authenticate"]) == (401, True)


def _found(url: str) -> dict[str, Any]:
    """The provider's metadata, by nothing but the URL of the server."""
    challenge = httpx.post(url, json={}).headers["www-authenticate"]
    (place,) = re.findall(r'resource_metadata="([^"]+)"', challenge)
    document = httpx.get(place).json()
    assert document["resource"] == url
    metadata: dict[str, Any] = httpx.get(
        f"{document['authorization_servers'][0]}/.well-known/oauth-authorization-server"
    ).json()
    return metadata


def _logged_in(metadata: dict[str, Any], resource: str) -> dict[str, Any]:
    usual = {"client_id": "agent", "redirect_uri": BACK} | ({"resource": resource} if resource else {})
    asked = {"response_type": "code", "scope": "openid", "code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    with httpx.Client() as browser:
        action, fields = form(browser.get(metadata["authorization_endpoint"], params=usual | asked))
        location = browser.post(action, data=fields | {"answer": "yes"}).headers["location"]
    code = httpx.URL(location).params["code"]
    fields = usual | {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    found: dict[str, Any] = httpx.post(metadata["token_endpoint"], data=fields).json()
    return found


def call(url: str, token: str, method: str, **params: object) -> dict[str, Any]:
    found: dict[str, Any] = _post(url, token, method, **params).json()["result"]
    return found


def _post(url: str, token: str, method: str, **params: object) -> httpx.Response:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(url, json=message, headers={"authorization": f"Bearer {token}"})


def test_grafana_logs_people_in_as_the_page_configures_it(tmp_path: Path) -> None:
    (manifest,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[:1]
    (text,) = re.findall(r"^```ini\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    ini = ConfigParser(interpolation=None)
    ini.read_string(text)
    grafana = ini["auth.generic_oauth"]
    base, spec = served.base_url(), yaml.safe_load(manifest)["spec"]
    person = {"login": "ana@corp.example", "name": "Ana", "groups": ["sre"]}
    objects = [*served.provider(base), *served.client("grafana", **spec | {"identityProviderRef": {"name": "idp"}})]
    with served.serving(tmp_path, base, objects, callers_are=[person]):
        place = {
            name: grafana[name].replace("https://idp.corp.example", base)
            for name in ("auth_url", "token_url", "api_url")
        }
        usual = {"client_id": "grafana", "redirect_uri": spec["redirectURIs"][0]}
        asked = {"response_type": "code", "scope": grafana["scopes"], "state": "s"}
        assert grafana.getboolean("use_pkce")
        asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        with httpx.Client() as browser:
            action, fields = form(browser.get(place["auth_url"], params=usual | asked))
            location = browser.post(action, data=fields | {"answer": "yes"}).headers["location"]
        code = httpx.URL(location).params["code"]
        fields = usual | {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        tokens = httpx.post(place["token_url"], data=fields, auth=("grafana", served.SECRET)).json()
        told = httpx.get(place["api_url"], headers={"authorization": f"Bearer {tokens['access_token']}"}).json()
    assert (told["email"], told["name"], told["groups"]) == ("ana@corp.example", "Ana", ["sre"])
    assert "contains(groups[*], 'sre')" in grafana["role_attribute_path"]


def test_the_callers_for_the_conformance_suite_may_register_and_no_page_shows_what_was_registered(
    tmp_path: Path,
) -> None:
    folder, base = EXAMPLES / "conformance", served.base_url()
    text = "---\n".join(path.read_text() for path in sorted(folder.glob("*.yaml")))
    objects = list(yaml.safe_load_all(text.replace("https://idp.conformance.example", base)))
    suite = "https://localhost.emobix.co.uk:8443/test/a/tailseal"
    shown = {name: f"{suite}/{name}" for name in ("logo_uri", "policy_uri", "tos_uri")}
    people = json.loads((folder / "callers.json").read_text())
    with served.serving(tmp_path, base, objects, callers_are=people), httpx.Client(base_url=base) as browser:
        answer = browser.post("/register", json={"redirect_uris": [f"{suite}/callback"], **shown})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made.items() >= shown.items()
        asked = {"client_id": made["client_id"], "redirect_uri": f"{suite}/callback", "scope": "openid"}
        asked |= {"response_type": "code", "code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        page = browser.get("/authorize", params=asked)
        assert page.status_code == 200, page.text
        assert form(page)
        assert not [uri for uri in shown.values() if uri in page.text]
    assert "--callers examples/conformance/callers.json" in (folder / "README.md").read_text()
