"""`kubectl tailseal …` as kubectl itself finds, runs and completes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tailseal_dev.controlplane import ControlPlane

pytestmark = pytest.mark.cluster

SOURCES = Path(__file__).parents[2] / "operator"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder with both entry points, as an installation puts them on the PATH."""
    for name, entry in (("kubectl-tailseal", "run"), ("kubectl_complete-tailseal", "complete")):
        program = tmp_path / name
        program.write_text(f"#!{sys.executable}\nfrom tailseal.cli import plugin\nplugin.{entry}()\n")
        program.chmod(0o755)
    return tmp_path


@pytest.fixture
def run(control_plane: ControlPlane, path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The real kubectl with the plugin on its PATH."""

    def run(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [control_plane.programs / "kubectl", *arguments],
            env={
                "PATH": f"{path}:{os.environ['PATH']}",
                "HOME": str(path),
                "KUBECONFIG": str(control_plane.kubeconfig),
                "PYTHONPATH": str(SOURCES),
            },
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def corp(kubectl: Callable[..., str], namespace: str, crds: Path) -> str:
    """A namespace with a SigningKey of which a status says something."""
    manifest = {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": "SigningKey",
        "metadata": {"name": "corp", "namespace": namespace},
        "spec": {"algorithm": "ES256"},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    status = {"status": {"activeKeyID": "k1", "keys": [{"keyID": "k1", "algorithm": "ES256", "state": "Active"}]}}
    kubectl(
        "patch", "signingkey/corp", "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(status)
    )
    return namespace


def test_kubectl_finds_it_and_its_help_shows_the_name_that_was_typed(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    listed = run("plugin", "list")
    assert "kubectl-tailseal" in listed.stdout
    told = run("tailseal", "keys", "--help")
    assert told.returncode == 0
    assert told.stdout.startswith("Usage: kubectl tailseal keys ")


def test_the_whole_life_of_a_key_through_kubectl(
    run: Callable[..., subprocess.CompletedProcess[str]], kubectl: Callable[..., str], corp: str
) -> None:
    assert "k1" in run("tailseal", "keys", "list", "-n", corp).stdout
    assert json.loads(run("tailseal", "keys", "show", "corp", "-n", corp, "-o", "json").stdout)["activeKeyID"] == "k1"

    rotated = run("tailseal", "keys", "rotate", "corp", "-n", corp)
    assert rotated.returncode == 0, rotated.stderr
    obj = json.loads(kubectl("get", "signingkey/corp", "-n", corp, "-o", "json"))
    assert yaml.safe_load(rotated.stdout)["metadata"]["annotations"].items() <= obj["metadata"]["annotations"].items()

    revoked = run("tailseal", "keys", "revoke", "corp", "k1", "-n", corp, typed="y\n")
    assert revoked.returncode == 0, revoked.stderr
    obj = json.loads(kubectl("get", "signingkey/corp", "-n", corp, "-o", "json"))
    assert obj["spec"]["revokedKeyIDs"] == ["k1"]
    kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=revoked.stdout)

    verified = run("tailseal", "keys", "verify", "-", typed="no token")
    assert (verified.returncode, verified.stdout.split(":")[0]) == (1, "verifies")
    assert run("tailseal", "keys", "show", "nope", "-n", corp).returncode == 1
    assert run("tailseal", "keys", "list", "--nope").returncode == 2
    assert run("tailseal", "keys", "list", "--kubeconfig", "/nowhere").returncode == 3


def test_everything_on_one_screen_and_who_one_is_through_kubectl(
    run: Callable[..., subprocess.CompletedProcess[str]], control_plane: ControlPlane, tmp_path: Path, corp: str
) -> None:
    shown = run("tailseal", "status", "-n", corp)
    row = ["SigningKey", corp, "corp", "Unknown"]
    assert shown.returncode == 1, shown.stderr
    assert shown.stdout.splitlines()[1].split()[:4] == row
    config = tmp_path / "of-two"
    known = yaml.safe_load(control_plane.kubeconfig.read_text())
    config.write_text(yaml.safe_dump(known | {"current-context": "another"}))
    everywhere = run("tailseal", "status", "-A", "--kubeconfig", str(config), "--context", known["current-context"])
    assert everywhere.returncode == 1, everywhere.stderr
    assert row in [line.split()[:4] for line in everywhere.stdout.splitlines()]
    assert run("tailseal", "status", "-A", "--kubeconfig", str(config)).returncode == 3
    assert run("tailseal", "status", "-n", corp, "-o", "name").stdout == "signingkey.tailseal.dev/corp\n"
    told = run("tailseal", "whoami", "-o", "json")
    assert json.loads(told.stdout)["username"] == "admin", told.stderr
    unknown = run("tailseal", "whoami", "--context", "nobody")
    assert (unknown.returncode, "nobody" in unknown.stderr) == (3, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["keys", ""], {"list", "show", "rotate", "revoke", "poke", "verify"}),
        (["ke"], {"keys"}),
        (["sta"], {"status"}),
        (["who"], {"whoami"}),
        (["keys", "list", "-o", "j"], {"json"}),
    ],
)
def test_kubectl_completes_commands(
    run: Callable[..., subprocess.CompletedProcess[str]], words: list[str], expected: set[str]
) -> None:
    *lines, directive = run("__complete", "tailseal", *words).stdout.splitlines()
    assert {line.split("\t")[0] for line in lines} == expected
    assert directive == ":4"


def test_kubectl_completes_real_objects(run: Callable[..., subprocess.CompletedProcess[str]], corp: str) -> None:
    def completed(*words: str) -> list[str]:
        return run("__complete", "tailseal", "keys", *words).stdout.splitlines()[:-1]

    assert completed("show", "-n", corp, "co") == ["corp"]
    assert completed("revoke", "-n", corp, "corp", "") == ["k1"]
    assert corp in completed("show", "-n", "")
    assert completed("show", "--kubeconfig", "/nowhere", "") == []


COLUMNS = {
    "signingkey": "NAME READY ACTIVE KEY REASON AGE",
    "identityprovider": "NAME READY ISSUER REASON AGE",
    "trustpolicy": "NAME READY PROVIDER REASON AGE",
    "oauthclient": "NAME READY CLIENT ID REASON AGE",
}


def test_lists_answer_whether_it_works_and_if_not_why(kubectl: Callable[..., str], corp: str) -> None:
    why = {"type": "Ready", "status": "False", "reason": "WaitingForProvider", "message": "none signs with it"}
    patch = {"status": {"conditions": [{**why, "lastTransitionTime": "2026-11-21T08:00:00Z"}]}}
    kubectl("patch", "signingkey/corp", "-n", corp, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    heads, row = kubectl("get", "signingkeys", "-n", corp).splitlines()
    assert " ".join(heads.split()) == COLUMNS["signingkey"]
    assert row.split()[1:4] == ["False", "k1", "WaitingForProvider"]
    assert "none signs with it" in kubectl("get", "signingkeys", "-n", corp, "-o", "wide")


@pytest.mark.parametrize("kind", COLUMNS)
def test_kubectl_explains_every_field(kubectl: Callable[..., str], crds: Path, kind: str) -> None:
    told = kubectl("explain", f"{kind}.spec")
    assert "<no description>" not in told
    summary = kubectl("explain", kind).split("DESCRIPTION:")[1].split()
    assert (summary[0].lower(), summary[1] in {"says", "is"}) == (kind, True)
