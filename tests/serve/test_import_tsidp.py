"""What `tailseal import tsidp` wrote is served as it stands: applications and verifiers of tsidp's notice nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from fakes import idp, served
from tailseal.cli.main import cli

ID, SECRET = "0123456789abcdef" * 2, "fedcba9876543210" * 4
KID = 13_835_058_055_282_163_712
REDIRECT = "https://grafana.corp.example/login"
CLIENTS = {ID: {"client_id": ID, "client_secret": SECRET, "client_name": "Grafana", "redirect_uris": [REDIRECT]}}
BOUND = {
    "name": "apps",
    "namespaces": {"from": "Names", "names": ["apps"]},
    "audiences": [ID],
    "redirectHosts": ["grafana.corp.example"],
    "grantTypes": ["authorization_code", "refresh_token"],
}


@pytest.fixture(scope="module")
def key() -> RSAKey:
    """That tsidp signed with."""
    return RSAKey.generate_key(2048, {"kid": str(KID)})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, key: RSAKey) -> Iterator[str]:
    """The issuer that tsidp was, with a key of ours before tsidp's, for another algorithm."""
    folder, base = tmp_path_factory.mktemp("tsidp"), served.base_url()
    (folder / "served").mkdir()
    (folder / "served/tsidp.yaml").write_text(_imported(folder, key))
    objects = served.provider(base, signingKeys=[{"name": "es"}, {"name": "tsidp"}], bounds=[BOUND])
    for each in objects:
        each["metadata"]["namespace"] = "identity"
    with served.serving(folder, base, [each for each in objects if each["metadata"]["name"] != "rs"]) as log:
        yield base
        said = log.read_text()
    assert not [text for text in (SECRET, "PRIVATE") if text in said]
    assert "problem" not in said


def _imported(folder: Path, key: RSAKey) -> str:
    clients, kept = folder / "oidc-funnel-clients.json", folder / "oidc-key.json"
    clients.write_text(json.dumps(CLIENTS))
    kept.write_text(json.dumps({"Key": key.as_pem(private=True).decode(), "ID": KID}))
    arguments = ["import", "tsidp", str(clients), str(kept), "--provider=identity/idp", "-n", "apps"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def _code(browser: httpx.Client) -> str:
    """Of a person's login, as an application asks that tsidp taught no PKCE."""
    asked: dict[str, Any] = {"client_id": ID, "redirect_uri": REDIRECT, "nonce": "n"}
    asked |= {"code_challenge": None, "code_challenge_method": None}
    action, fields = idp.form(browser.get("/authorize", params=idp.authorization(**asked)))
    answer = browser.post(action, data=fields | {"answer": "yes"})
    assert answer.headers["location"].startswith(f"{REDIRECT}?")
    return idp.parameters(answer)["code"]


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post"])
def test_an_application_logs_in_with_its_id_and_secret_of_before(base: str, key: RSAKey, way: str) -> None:
    proof: dict[str, Any] = (
        {"auth": (ID, SECRET), "data": {}}
        if way == "client_secret_basic"
        else {"data": {"client_id": ID, "client_secret": SECRET}}
    )
    with httpx.Client(base_url=base) as browser:
        sent = {"grant_type": "authorization_code", "code": _code(browser), "redirect_uri": REDIRECT}
        answer = browser.post("/token", **proof | {"data": proof["data"] | sent})
        assert answer.status_code == 200, answer.text
        published = KeySet.import_key_set(browser.get("/.well-known/jwks.json").json())
    token = answer.json()["id_token"]
    for known in (published, RSAKey.import_key(key.as_dict(private=False))):
        found = jwt.decode(token, known, algorithms=["RS256"])
        assert found.header["kid"] == str(KID)
        assert (found.claims["iss"], found.claims["aud"], found.claims["nonce"]) == (base, ID, "n")


def test_a_token_that_tsidp_signed_verifies_with_what_is_published(base: str, key: RSAKey) -> None:
    former = jwt.encode({"alg": "RS256", "kid": str(KID)}, {"iss": base, "aud": ID}, key, algorithms=["RS256"])
    published = httpx.get(f"{base}/.well-known/jwks.json").json()
    assert str(KID) in [each["kid"] for each in published["keys"]]
    assert jwt.decode(former, KeySet.import_key_set(published), algorithms=["RS256"]).claims["aud"] == ID


def test_another_secret_than_that_of_before_is_refused(base: str) -> None:
    with httpx.Client(base_url=base) as browser:
        sent = {"grant_type": "authorization_code", "code": _code(browser), "redirect_uri": REDIRECT}
        answer = browser.post("/token", data=sent, auth=(ID, SECRET[::-1]))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
