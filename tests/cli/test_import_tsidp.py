"""`tailseal import tsidp`: what tsidp kept on disk, as objects that this very product accepts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tailseal.api.parse import parse
from tailseal.cli.imports.tailsts import NotTakenOverError
from tailseal.cli.imports.tsidp import Target, translate
from tailseal.cli.main import cli
from tailseal.domain.keys.imported import imported_key
from tailseal.domain.policy.review.lint import lint

ID, SECRET = "0123456789abcdef" * 2, "fedcba9876543210" * 4
KID = 13_835_058_055_282_163_712
TARGET = Target("corp", "identity", "apps")


@pytest.fixture(scope="module")
def pem() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def clients(**members: Any) -> bytes:  # noqa: ANN401 - as JSON has it
    entry = {
        "client_id": ID,
        "client_secret": SECRET,
        "client_name": "Grafana (prod)",
        "redirect_uris": ["https://grafana.corp.example/login", "http://localhost:3000/login"],
        "redirect_uri": "https://grafana.corp.example/login",
        "created_at": "2026-01-02T03:04:05Z",
    }
    return json.dumps({ID: entry | members}).encode()


def objects(files: dict[str, bytes], target: Target = TARGET) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(translate(files, target)))


def test_a_client_keeps_its_id_its_secret_and_its_redirects() -> None:
    client, secret = objects({"clients.json": clients()})
    spec = parse("OAuthClient", client)
    assert client["metadata"] == {"name": "grafana-prod", "namespace": "apps"}
    assert spec.client_id == ID
    assert spec.redirect_uris == ("https://grafana.corp.example/login", "http://localhost:3000/login")
    assert spec.secret_ref
    assert secret["metadata"]["name"] == spec.secret_ref.name
    assert secret["metadata"]["labels"] == {"tailseal.dev/allow": "true"}
    assert secret["stringData"] == {"client_secret": SECRET}


def test_what_is_written_passes_the_lint_of_a_provider_that_admits_it() -> None:
    bound = {
        "name": "apps",
        "namespaces": {"from": "Names", "names": ["apps"]},
        "audiences": [ID],
        "redirectHosts": ["grafana.corp.example", "localhost"],
        "grantTypes": ["authorization_code", "refresh_token"],
    }
    spec = {"issuer": "https://idp.corp.ts.net", "signingKeys": [{"name": "tsidp"}], "bounds": [bound]}
    provider = {"kind": "IdentityProvider", "metadata": {"name": "corp", "namespace": "identity"}, "spec": spec}
    assert lint(objects({"clients.json": clients()}), [provider], now=0.0) == ()


def test_files_of_older_versions_with_one_redirect_are_taken() -> None:
    entry = {"client_id": ID, "client_secret": SECRET, "name": "old", "redirect_uri": "https://old.example/cb"}
    client, _ = objects({"clients.json": json.dumps({ID: entry}).encode()})
    assert client["metadata"]["name"] == "old"
    assert client["spec"]["redirectURIs"] == ["https://old.example/cb"]


@pytest.mark.parametrize("encoded", [True, False])
def test_the_key_keeps_its_id_and_is_imported(pem: str, encoded: bool) -> None:  # noqa: FBT001
    kept = {"Key": base64.urlsafe_b64encode(pem.encode()).decode(), "ID": KID} if encoded else {"key": pem, "kid": KID}
    key, secret = objects({"oidc-key.json": json.dumps(kept).encode()})
    spec = parse("SigningKey", key)
    assert key["metadata"] == {"name": "tsidp", "namespace": "identity"}
    assert spec.source
    assert spec.source.import_
    found = imported_key({"key.pem": secret["stringData"]["key.pem"].encode()}, "RS256", spec.source.import_.key_id)
    assert found.kid == str(KID)


def test_a_weak_secret_is_left_behind_and_said() -> None:
    text = translate({"clients.json": clients(client_secret="hunter2")}, TARGET)
    assert "secretRef" not in text
    assert "hunter2" not in text
    assert "give the application the new one" in text


def test_two_clients_of_one_name_get_two_names() -> None:
    both = json.loads(clients()) | {"b" * 32: json.loads(clients())[ID]}
    found = [
        obj["metadata"]["name"] for obj in objects({"c.json": json.dumps(both).encode()}) if obj["kind"] != "Secret"
    ]
    assert found == ["grafana-prod", "grafana-prod-2"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "f.json: is not JSON"),
        (b"[]", "f.json: holds neither tsidp's clients nor its key"),
        (b'{"x": 1}', "f.json: client x: must be an object"),
        (b'{"Key": "canary", "ID": 1}', "f.json: Key, ID: a PEM"),
        (clients(redirect_uris=["javascript:alert(1)"]), "spec.redirectURIs[0]"),
        (clients(redirect_uris=[], redirect_uri=""), "redirectURIs go with"),
    ],
)
def test_what_cannot_be_taken_over_is_named_and_nothing_of_it_quoted(content: bytes, said: str) -> None:
    with pytest.raises(NotTakenOverError) as caught:
        translate({"f.json": content}, TARGET)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "canary" not in str(caught.value)


def test_the_command_writes_yaml_or_nothing(tmp_path: Path, pem: str) -> None:
    (tmp_path / "oidc-funnel-clients.json").write_bytes(clients())
    (tmp_path / "oidc-key.json").write_text(json.dumps({"Key": pem, "ID": KID}))
    arguments = ["import", "tsidp", str(tmp_path / "oidc-funnel-clients.json"), str(tmp_path / "oidc-key.json")]
    result = CliRunner().invoke(cli, [*arguments, "--provider=identity/corp"])
    assert result.exit_code == 0
    kinds = [document["kind"] for document in yaml.safe_load_all(result.stdout)]
    assert kinds == ["OAuthClient", "Secret", "SigningKey", "Secret"]
    (tmp_path / "oidc-key.json").write_text("{")
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, result.stdout) == (1, "")
