"""The krew manifest has the shape that krew asks for, and its launchers find the program and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PLACE = Path(__file__).parents[2] / "deploy" / "krew"
LAUNCHERS = ("kubectl-tailseal", "kubectl_complete-tailseal")


def _filled_in() -> dict[str, Any]:
    """As krew-release-bot makes it."""
    text = (
        (PLACE / "tailseal.yaml")
        .read_text()
        .replace('"https://tailseal.dev/releases/{{ .TagName }}', '"https://r/v0.1.0')
    )
    text = re.sub(r'\{\{ ?addURIAndSha "([^"]+)" .TagName \}\}', rf'uri: "\1"\n    sha256: "{"0" * 64}"', text)
    document: dict[str, Any] = yaml.safe_load(text.replace("{{ .TagName }}", "v0.1.0"))
    return document


def test_the_manifest_is_one_that_krew_takes() -> None:
    found = _filled_in()
    assert (found["apiVersion"], found["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    assert found["metadata"] == {"name": "tailseal"}
    spec = found["spec"]
    assert re.fullmatch(r"v\d+\.\d+\.\d+", spec["version"])
    assert len(spec["shortDescription"]) <= 50
    assert not spec["shortDescription"].endswith(".")
    assert all(len(line) <= 80 for text in (spec["description"], spec["caveats"]) for line in text.splitlines())
    (platform,) = spec["platforms"]
    assert platform.keys() == {"selector", "uri", "sha256", "bin", "files"}
    assert platform["uri"].endswith(".tar.gz")
    assert (PLACE / platform["bin"]).stat().st_mode & 0o111


def _run(name: str, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    sh = Path(shutil.which("sh") or "/bin/sh").parent
    return subprocess.run(
        [PLACE / name, *arguments],
        env={"PATH": f"{PLACE}:{path}:{sh}:/usr/bin"} | {"HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("by", ["itself", "uvx", "pipx"])
def test_a_launcher_runs_what_is_there(name: str, by: str, tmp_path: Path) -> None:
    for program in ("tailseal", name) if by == "itself" else (by,):
        (tmp_path / program).write_text('#!/bin/sh\necho "$0 $*"\n')
        (tmp_path / program).chmod(0o755)
    answer = _run(name, tmp_path, "keys", "a b")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"{tmp_path}/{name if by == 'itself' else by} ")
    assert answer.stdout.endswith(" keys a b\n" if by == "itself" else f" {name} keys a b\n")


def test_a_launcher_says_what_is_needed(tmp_path: Path) -> None:
    answer = _run("kubectl-tailseal", tmp_path)
    assert (answer.returncode, "needs uv or pipx" in answer.stderr) == (3, True)
