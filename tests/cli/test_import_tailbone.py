"""`tailseal import tailbone`: the keys that Tailbone kept, as objects that this very product accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from joserfc import jwt
from joserfc.jwk import RSAKey

from tailseal.api.parse import parse
from tailseal.cli.imports.tailbone import Target, translate
from tailseal.cli.imports.tailsts import NotTakenOverError
from tailseal.cli.main import cli
from tailseal.domain.keys.imported import imported_key
from tailseal.domain.policy.review.lint import lint


@pytest.fixture(scope="module")
def folder() -> dict[str, bytes]:
    """As Tailbone has it: two keys, the newer of which signs."""
    found: dict[str, bytes] = {}
    for seconds in (1_700_000_000, 999_999_999):
        kid = f"tb-{seconds}"
        key = RSAKey.generate_key(2048, {"kid": kid, "alg": "RS256", "use": "sig"}, private=True)
        found[f"{kid}.private.jwk"] = json.dumps(key.as_dict(private=True)).encode()
        found[f"{kid}.public.jwk"] = json.dumps(key.as_dict(private=False)).encode()
    return found


def objects(files: dict[str, bytes], target: Target) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(translate(files, target)))


def test_the_key_that_signs_is_the_newest_by_number_and_keeps_its_id(folder: dict[str, bytes]) -> None:
    key, secret = objects(folder, Target("identity"))
    assert (key["metadata"], secret["metadata"]["name"]) == (
        {"name": "tailbone", "namespace": "identity"},
        "tailbone-key",
    )
    spec = parse("SigningKey", key)
    assert spec.source is not None
    assert spec.source.import_ is not None
    assert spec.source.import_.key_id == "tb-1700000000"
    files = {name: text.encode() for name, text in secret["stringData"].items()}
    imported = imported_key(files, "RS256", spec.source.import_.key_id)
    assert imported.kid == "tb-1700000000"
    signer = RSAKey.import_key(json.loads(folder["tb-1700000000.private.jwk"]))
    token = jwt.encode({"alg": "RS256", "kid": imported.kid}, {"user": "ana"}, signer)
    published: Any = {**imported.public_jwk, "kid": imported.kid}
    assert jwt.decode(token, RSAKey.import_key(published)).claims == {"user": "ana"}
    assert secret["metadata"]["labels"] == {"tailseal.dev/allow": "true"}
    assert list(lint([key, secret], now=0)) == []


def test_keys_that_no_longer_sign_come_along_on_demand(folder: dict[str, bytes]) -> None:
    assert "Left out, since they no longer sign: tb-999999999.private.jwk" in translate(folder, Target())
    found = objects(folder, Target(every=True))
    assert [obj["metadata"]["name"] for obj in found] == ["tailbone", "tailbone-key", "tailbone-2", "tailbone-2-key"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.private.jwk", b"{}", "name must be PREFIX-SECONDS"),
        ("tb-1.private.jwk", b"[]", "is not a JWK"),
        ("tb-1.private.jwk", b"{", "is not a JWK"),
        ("tb-1.private.jwk", b'{"kty": "RSA"}', "tb-1.private.jwk: "),
        ("tb-1.private.jwk", b'{"kid": "tb-2"}', "kid: differs"),
        ("tb-1.private.jwk", b'{"kty": "oct", "k": "c2VjcmV0LWNhbmFyeQ"}', "tb-1.private.jwk: "),
    ],
)
def test_a_key_that_we_would_not_accept_stops_everything(
    folder: dict[str, bytes], name: str, content: bytes, complaint: str
) -> None:
    with pytest.raises(NotTakenOverError) as caught:
        translate(folder | {name: content}, Target())
    (problem,) = caught.value.problems
    assert complaint in problem
    assert "c2VjcmV0" not in problem


def test_the_command_reads_the_folder(tmp_path: Path, folder: dict[str, bytes]) -> None:
    empty = CliRunner().invoke(cli, ["import", "tailbone", str(tmp_path)])
    assert (empty.exit_code, "there is no file *.private.jwk" in empty.output) == (1, True)
    for name, content in folder.items():
        (tmp_path / name).write_bytes(content)
    result = CliRunner().invoke(cli, ["import", "tailbone", str(tmp_path), "-n", "identity", "--signing-key", "old"])
    assert result.exit_code == 0
    assert [obj["metadata"]["name"] for obj in yaml.safe_load_all(result.output)] == ["old", "old-key"]
