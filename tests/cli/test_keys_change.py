"""`tailseal keys rotate|revoke`: one patch each, the Git edit beside it, and what it means before it is too late."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fakes.cluster import FakeCluster
from fakes.provider import NS, provider, signing_key, world
from fakes.world import World
from tailseal.cli import cluster as asked
from tailseal.cli.main import cli
from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict, Invalid


def run(monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster, *arguments: str, typed: str = "") -> Result:
    monkeypatch.setattr(asked, "connect", lambda *_: contextlib.nullcontext(cluster))
    return CliRunner().invoke(cli, ["keys", *arguments], input=typed)


async def settled(**spec: Any) -> World:  # noqa: ANN401 - whatever the spec holds
    seen = world(signing_key(**spec), provider())
    await seen.converge()
    await seen.run_for(400)
    return seen


@pytest.fixture
def seen() -> World:
    return asyncio.run(settled())


def obj(seen: World) -> dict[str, Any]:
    return seen.cluster.peek(kinds.SIGNING_KEY, NS, "corp")


def active(seen: World) -> str:
    return str(obj(seen)["status"]["activeKeyID"])


def test_rotate_asks_for_a_signer_and_prints_the_edit_for_git(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    result = run(monkeypatch, seen.cluster, "rotate", "corp")
    assert result.exit_code == 0
    edit = yaml.safe_load(result.stdout)
    asked = obj(seen)["metadata"]["annotations"]
    assert edit["metadata"] == {"name": "corp", "namespace": NS, "annotations": asked}
    assert set(edit) == {"apiVersion", "kind", "metadata"}
    assert asked["tailseal.dev/rotate"].endswith("Z")
    assert "no token fails" in result.stderr
    assert "kept in Git" in result.stderr


def test_rotate_really_rotates(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    first = active(seen)
    monkeypatch.setattr("tailseal.cli.keys.change.format_time", lambda _: "2027-01-15T08:06:41Z")
    run(monkeypatch, seen.cluster, "rotate", "corp")

    async def later() -> None:
        await seen.run_for(600)

    asyncio.run(later())
    assert active(seen) != first


@pytest.mark.parametrize(
    "source",
    [{"import": {"secretRef": {"name": "x"}}}, {"pkcs11": {"module": "/m"}}],
    ids=lambda value: next(iter(value)),
)
def test_rotate_refuses_keys_that_are_brought(monkeypatch: pytest.MonkeyPatch, source: dict[str, Any]) -> None:
    cluster = world(signing_key(source=source)).cluster
    result = run(monkeypatch, cluster, "rotate", "corp")
    assert result.exit_code == 1
    assert "nobody but their owner" in result.stderr
    assert f"spec.source.{next(iter(source))}" in result.stderr
    assert "annotations" not in cluster.peek(kinds.SIGNING_KEY, NS, "corp")["metadata"]


def test_revoke_says_what_dies_and_asks(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    kid = active(seen)
    refused = run(monkeypatch, seen.cluster, "revoke", "corp", kid, typed="n\n")
    assert refused.exit_code == 1
    assert "revokedKeyIDs" not in obj(seen)["spec"]
    assert refused.stdout == ""
    for text in ("Every token that it signed", "kube-apiserver", "jwks.maxAge: 5m", "https://idp.corp.example"):
        assert text in refused.stderr
    assert "is published already and follows it" in refused.stderr
    assert run(monkeypatch, seen.cluster, "revoke", "corp", kid, typed="").exit_code == 1, "nobody there to ask"


def test_revoke_lands_beside_what_is_revoked_already(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    kid = active(seen)
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda found: found["spec"].update(revokedKeyIDs=["old"]))
    result = run(monkeypatch, seen.cluster, "revoke", "corp", kid, "--yes")
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["spec"] == {"revokedKeyIDs": ["old", kid]}
    assert obj(seen)["spec"]["revokedKeyIDs"] == ["old", kid]
    asyncio.run(seen.converge())
    assert active(seen) != kid
    again = run(monkeypatch, seen.cluster, "revoke", "corp", kid)
    assert (again.exit_code, yaml.safe_load(again.stdout)["spec"]) == (0, {"revokedKeyIDs": ["old", kid]})


def test_revoke_writes_on_top_of_what_it_read(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    kid, raced = active(seen), []

    def race(verb: str, _ref: object) -> Conflict | None:
        if verb == "merge" and not raced:
            raced.append(1)
            seen.cluster.user_edit(
                kinds.SIGNING_KEY, NS, "corp", lambda found: found["spec"].update(revokedKeyIDs=["other"])
            )
        return None

    seen.cluster.refuse = race
    assert run(monkeypatch, seen.cluster, "revoke", "corp", kid, "-y").exit_code == 0
    assert obj(seen)["spec"]["revokedKeyIDs"] == ["other", kid]


def test_a_mistyped_key_id_revokes_nothing(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    result = run(monkeypatch, seen.cluster, "revoke", "corp", "typo", "--yes")
    assert (result.exit_code, "has no key typo; its keys: " in result.stderr) == (1, True)
    assert active(seen) in result.stderr
    assert "by hand" in result.stderr


def test_a_full_list_is_said(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    full = [f"old-{number}" for number in range(64)]
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda found: found["spec"].update(revokedKeyIDs=full))
    result = run(monkeypatch, seen.cluster, "revoke", "corp", active(seen), "--yes")
    assert (result.exit_code, "is full" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"rotation": {"spare": False}}, "a new key signs at once"),
        ({"rotation": {"spare": False, "onRevokeWithoutSpare": "Stop"}}, "nothing signs until verifiers"),
    ],
)
def test_what_follows_without_a_spare_is_said(monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any], text: str) -> None:
    seen = asyncio.run(settled(**spec))
    assert text in run(monkeypatch, seen.cluster, "revoke", "corp", active(seen), "--yes").stderr


def test_what_the_api_server_refuses_is_shown(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    seen.cluster.refuse = lambda verb, _: Invalid("spec: no") if verb == "merge" else None
    result = run(monkeypatch, seen.cluster, "rotate", "corp")
    assert (result.exit_code, "refuses it: spec: no" in result.stderr) == (1, True)


def test_n_and_a_contradict_each_other(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    assert run(monkeypatch, seen.cluster, "list", "-n", NS, "-A").exit_code == 2
    assert run(monkeypatch, seen.cluster, "list", "-A").exit_code == 0
