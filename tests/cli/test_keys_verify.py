"""`tailseal keys verify`: which key, which state, until when, why not; never the token."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fakes.cluster import FakeCluster
from fakes.provider import ISSUER, NS, files, provider, signing_key, world
from fakes.world import World
from tailseal.cli import cluster as asked
from tailseal.cli.keys import verify as keys_verify
from tailseal.cli.main import cli
from tailseal.cluster import kinds
from tailseal.tokens.compact import encode
from tailseal.tokens.signers import LocalSigner


async def settled() -> World:
    seen = world(signing_key(), provider())
    await seen.converge()
    await seen.run_for(400)
    return seen


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> World:
    made = asyncio.run(settled())
    monkeypatch.setattr(keys_verify.time, "time", made.clock.now)
    return made


def run(monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster, *arguments: str, typed: str = "") -> Result:
    monkeypatch.setattr(asked, "connect", lambda *_: contextlib.nullcontext(cluster))
    return CliRunner().invoke(cli, ["keys", "verify", *arguments], input=typed)


def status(seen: World) -> dict[str, Any]:
    found: dict[str, Any] = seen.cluster.peek(kinds.SIGNING_KEY, NS, "corp")["status"]
    return found


def token(seen: World, kid: str = "", *, header: str = "", ttl: int = 300, **claims: object) -> str:
    kid = kid or status(seen)["activeKeyID"]
    signer = LocalSigner.from_pem(files(seen, "corp-signingkey")[f"{kid}.pem"], "ES256", kid)
    now = int(seen.clock.now())
    payload = {"iss": ISSUER, "sub": "canary-subject", "iat": now, "exp": now + ttl} | claims
    head = {"alg": "ES256", "kid": header or kid}
    parts = b".".join(encode(json.dumps(part).encode()) for part in (head, payload))
    return (parts + b"." + encode(signer.sign(parts))).decode()


def test_a_good_token_is_told_with_its_key_and_its_end(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    given = token(seen)
    result = run(monkeypatch, seen.cluster, "-", typed=given + "\n")
    assert result.exit_code == 0, result.output
    said = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    kid = status(seen)["activeKeyID"]
    assert said["verifies:"] == "yes"
    assert said["key:"] == f"{kid} (ES256), SigningKey {NS}/corp, Active"
    assert said["until:"] == said["expires:"] == "2027-01-15T08:11:40Z"
    assert run(monkeypatch, seen.cluster, given).stdout == result.stdout
    assert not [part for part in (*given.split("."), "canary") if part in result.output]


def test_json_and_yaml_say_the_same(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    given = token(seen)
    found = json.loads(run(monkeypatch, seen.cluster, given, "-o", "json").stdout)
    assert found == yaml.safe_load(run(monkeypatch, seen.cluster, given, "-o", "yaml").stdout)
    assert (found["kind"], found["verifies"], found["state"]) == ("TokenVerification", True, "Active")


def test_a_token_of_a_retiring_key_verifies_until_the_key_leaves(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    first = status(seen)["activeKeyID"]
    rotate = {"tailseal.dev/rotate": "2027-01-15T08:06:40Z"}
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["metadata"].update(annotations=rotate))
    asyncio.run(seen.run_for(400))
    found = json.loads(run(monkeypatch, seen.cluster, token(seen, first, ttl=10**6), "-o", "json").stdout)
    assert (found["verifies"], found["state"]) == (True, "Retiring")
    (removal,) = (entry["removalTime"] for entry in status(seen)["keys"] if entry["keyID"] == first)
    assert found["verifiesUntil"] == removal


def revoked(seen: World) -> str:
    given = token(seen)
    kid = status(seen)["activeKeyID"]
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update(revokedKeyIDs=[kid]))
    asyncio.run(seen.converge())
    return given


NOT: dict[str, tuple[Callable[[World], str], str]] = {
    "no token at all": (lambda _: "canary-garbage", "TokenMalformed"),
    "another issuer's": (lambda seen: token(seen, iss="https://other.example"), "UnknownIssuer"),
    "no issuer": (lambda seen: token(seen, iss=["x"]), "UnknownIssuer"),
    "a key that is not there": (lambda seen: token(seen, header="nobody"), "UnknownKey"),
    "expired": (lambda seen: token(seen, ttl=-1), "TokenExpired"),
    "from the future": (lambda seen: token(seen, iat=int(seen.clock.now()) + 100), "TokenNotYetValid"),
    "forged": (
        lambda seen: ".".join((*token(seen).split(".")[:2], token(seen, jti="x").split(".")[2])),
        "BadSignature",
    ),
    "revoked": (revoked, "KeyRevoked"),
}


@pytest.mark.parametrize(("make", "reason"), NOT.values(), ids=list(NOT))
def test_why_not_is_one_word_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    seen: World,
    make: Callable[[World], str],
    reason: str,
) -> None:
    given = make(seen)
    result = run(monkeypatch, seen.cluster, given)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"verifies: no, {reason}: ")
    assert "until:" not in result.stdout
    assert "canary" not in result.output
    assert json.loads(run(monkeypatch, seen.cluster, given, "-o", "json").stdout)["reason"] == reason


def test_a_file_of_keys_needs_no_cluster(monkeypatch: pytest.MonkeyPatch, seen: World, tmp_path: Path) -> None:
    monkeypatch.setattr(asked, "connect", lambda *_: pytest.fail("the cluster was asked"))
    public = seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-jwks")["data"]["jwks.json"]
    (tmp_path / "jwks.json").write_text(public)
    (tmp_path / "none.json").write_text("canary")
    arguments = ["keys", "verify", token(seen), "--jwks"]
    assert CliRunner().invoke(cli, [*arguments, str(tmp_path / "jwks.json")]).exit_code == 0
    bad = CliRunner().invoke(cli, [*arguments, str(tmp_path / "none.json")])
    assert (bad.exit_code, "canary" in bad.output) == (1, False)
    other = CliRunner().invoke(
        cli, ["keys", "verify", token(seen, header="x"), *arguments[3:], str(tmp_path / "jwks.json")]
    )
    assert "UnknownKey" in other.stdout


def test_no_secret_is_read(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    given = token(seen)
    asked: list[str] = []
    seen.cluster.refuse = lambda verb, ref: asked.append(f"{verb} {ref.kind.kind}")
    run(monkeypatch, seen.cluster, given)
    assert set(asked) == {"list IdentityProvider", "list SigningKey", "get ConfigMap"}
