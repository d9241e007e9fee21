"""`tailseal keys`: a timeline from status, in three forms, without anything private."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fakes.cluster import FakeCluster
from fakes.provider import NS, files, provider, signing_key, world
from fakes.world import World
from tailseal.cli import cluster as asked
from tailseal.cli.main import cli
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Forbidden, NotFound, Transient


def run(monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster, *arguments: str) -> Result:
    monkeypatch.setattr(asked, "connect", lambda *_: contextlib.nullcontext(cluster))
    return CliRunner().invoke(cli, ["keys", *arguments])


async def rotating() -> World:
    seen = world(signing_key(), provider(), signing_key("lone"))
    await seen.converge()
    await seen.run_for(60)
    rotate = {"tailseal.dev/rotate": "2027-01-15T08:00:30Z"}
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["metadata"].update(annotations=rotate))
    await seen.converge()
    return seen


@pytest.fixture
def seen() -> World:
    import asyncio  # noqa: PLC0415 - the commands need a loop of their own

    return asyncio.run(rotating())


def test_the_list_has_a_line_each_and_says_what_is_waited_for(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    result = run(monkeypatch, seen.cluster, "list")
    assert result.exit_code == 0
    head, corp, lone = result.stdout.splitlines()
    assert head.split() == ["NAMESPACE", "NAME", "READY", "SIGNS", "WITH", "NEXT", "ROTATION", "KEYS", "WAITS", "FOR"]
    assert corp.startswith("identity   corp  True")
    assert "Rotating: key " in corp
    assert lone.split()[:3] == ["identity", "lone", "True"]
    assert lone.endswith("-")


def test_a_timeline_shows_every_key_from_the_oldest_on(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    status: dict[str, Any] = seen.cluster.peek(kinds.SIGNING_KEY, NS, "corp")["status"]
    result = run(monkeypatch, seen.cluster, "show", "corp")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "SigningKey identity/corp"
    assert lines[1].split()[-1] == status["activeKeyID"]
    assert lines[3].startswith("  waits for:      Rotating: key ")
    (coming,) = (entry for entry in status["keys"] if entry["state"] == "Published" and entry["keyID"] in lines[3])
    assert lines[3].endswith(f"served by all since {coming['publishTime']}, it waits until no cache can lack it")
    shown = {line.split()[0]: line.split()[2] for line in lines[6:]}
    assert shown == {entry["keyID"]: entry["state"] for entry in status["keys"]}


def test_what_a_revocation_left_to_do_is_shown(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    kid = seen.cluster.peek(kinds.SIGNING_KEY, NS, "corp")["status"]["activeKeyID"]
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update(revokedKeyIDs=[kid]))
    import asyncio  # noqa: PLC0415 - as above

    asyncio.run(seen.converge())
    shown = run(monkeypatch, seen.cluster, "show", "corp").stdout
    assert f"  beware:         revoked: {kid}. Who fetched the key set before may hold it until" in shown
    assert "tailseal keys poke" in shown


def test_json_and_yaml_say_the_same(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    for arguments in (["list"], ["show", "corp", "-n", NS]):
        asjson = json.loads(run(monkeypatch, seen.cluster, *arguments, "-o", "json").stdout)
        assert asjson == yaml.safe_load(run(monkeypatch, seen.cluster, *arguments, "-o", "yaml").stdout)
        assert asjson["apiVersion"] == "cli.tailseal.dev/v1alpha1"
    assert asjson["waitsFor"].startswith("Rotating: ")
    assert {entry["type"] for entry in asjson["conditions"]} >= {"Accepted", "Published", "Ready"}


def test_nothing_private_is_read_or_printed(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    asked: list[str] = []
    seen.cluster.refuse = lambda verb, ref: asked.append(f"{verb} {ref.kind.kind}")
    text = "".join(
        run(monkeypatch, seen.cluster, "show", "corp", "-o", form).output for form in ("text", "json", "yaml")
    )
    assert set(asked) == {"list SigningKey"}
    pems = [content.decode() for name, content in files(seen, "corp-signingkey").items() if name.endswith(".pem")]
    assert not [line for pem in pems for line in pem.splitlines() if line in text]


def test_one_that_nobody_looked_at_yet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = world(signing_key()).cluster
    assert "waits for:      the operator" in run(monkeypatch, fresh, "show", "corp").stdout
    assert "It has no key." in run(monkeypatch, fresh, "show", "corp").stdout
    assert run(monkeypatch, FakeCluster(), "list").stdout.startswith("NAMESPACE")


def test_a_name_that_is_not_there_or_there_twice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = signing_key()
    twin["metadata"]["namespace"] = "team"
    cluster = world(signing_key(), twin).cluster
    missing = run(monkeypatch, cluster, "show", "nope", "-n", NS)
    assert (missing.exit_code, "there is no SigningKey nope in namespace identity" in missing.stderr) == (1, True)
    twice = run(monkeypatch, cluster, "show", "corp")
    assert (twice.exit_code, "in each of identity, team" in twice.stderr) == (1, True)
    assert run(monkeypatch, cluster, "show", "corp", "-n", "team").exit_code == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Transient("GET /: TimeoutError"), "does not answer"),
        (NotFound("404"), "knows no SigningKeys"),
        (Forbidden("may not list"), "-n NAMESPACE"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_cluster_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch, error: ClusterError, text: str) -> None:
    cluster = FakeCluster()
    cluster.refuse = lambda _verb, _ref: error
    result = run(monkeypatch, cluster, "list")
    assert (result.exit_code, text in result.stderr) == (3, True)


def test_a_status_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = world(signing_key()).cluster
    bell = {"type": "Stalled", "status": "True", "reason": "X", "message": "\x1b[2J"}
    cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj.update(status={"conditions": [bell]}))
    for arguments in (["list"], ["show", "corp"]):
        result = run(monkeypatch, cluster, *arguments)
        assert result.exit_code == 0
        assert "\x1b" not in result.stdout


def test_help_imports_no_cluster() -> None:
    program = "import sys; from tailseal.cli.main import cli; cli(['keys', '--help'], standalone_mode=False); "
    program += "sys.exit(bool({'kubernetes', 'kopf', 'pydantic'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0
