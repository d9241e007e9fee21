"""The krew manifest has the shape that krew asks for, and its launchers find the program and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tailseal_dev import krew
from tailseal_dev.cache import ensure

PLACE = Path(__file__).parents[2] / "deploy" / "krew"
LAUNCHERS = krew.LAUNCHERS


def test_the_manifest_is_one_that_krew_takes() -> None:
    packed = krew.archive()
    found = yaml.safe_load(krew.manifest(packed, f"v{krew.version()}"))
    assert (found["apiVersion"], found["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    assert found["metadata"] == {"name": "tailseal"}
    spec = found["spec"]
    assert re.fullmatch(r"v\d+\.\d+\.\d+", spec["version"])
    assert len(spec["shortDescription"]) <= 50
    assert not spec["shortDescription"].endswith(".")
    assert all(len(line) <= 80 for text in (spec["description"], spec["caveats"]) for line in text.splitlines())
    (platform,) = spec["platforms"]
    assert platform.keys() == {"selector", "uri", "sha256", "bin", "files"}
    assert platform["uri"] == f"https://tailseal.dev/releases/v{krew.version()}/{krew.ARCHIVE}"
    assert platform["sha256"] == hashlib.sha256(packed).hexdigest()
    assert (PLACE / platform["bin"]).stat().st_mode & 0o111


def test_the_archive_is_the_same_bytes_whatever_the_times_and_rights_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = krew.archive()
    shutil.copytree(PLACE, tmp_path / "krew")
    for name in LAUNCHERS:
        (tmp_path / "krew" / name).chmod(0o700)
        os.utime(tmp_path / "krew" / name, (1, 1))
    monkeypatch.setattr(krew, "PLACE", tmp_path / "krew")
    assert krew.archive() == packed
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "neither a time nor the system that it was made on"
    assert (krew.ROOT / "LICENSE").read_bytes() in packed, "zlibs compress alike, but not the same"
    (tmp_path / "krew" / LAUNCHERS[1]).write_text("name=x version=9.9.9\n")
    with pytest.raises(krew.ReleaseError, match=f"{LAUNCHERS[1]}: says another version"):
        krew.version()


@pytest.mark.parametrize("size", [1, 0xFFFF, 0x10000, 200_000])
def test_a_content_of_any_size_is_unpacked_again(size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    assert gzip.decompress(krew._wrapped(content)) == content


@pytest.mark.cluster
def test_installed_from_the_archive_as_krew_does_kubectl_finds_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tailseal_dev.krew", f"--out={tmp_path}", "--url=https://r.example/a.tar.gz"]
    subprocess.run(argv, env=os.environ | {"PYTHONPATH": str(krew.ROOT / "dev")}, check=True, capture_output=True)
    platform = yaml.safe_load((tmp_path / krew.MANIFEST).read_text())["spec"]["platforms"][0]
    assert platform["uri"] == "https://r.example/a.tar.gz"
    store, links = tmp_path / "store" / "tailseal" / f"v{krew.version()}", tmp_path / "bin"
    links.mkdir()
    with tarfile.open(tmp_path / krew.ARCHIVE) as tar:  # which krew unpacks, then moves what `files` names, then links
        tar.extractall(store, filter="data")
    assert platform["files"] == [{"from": "*", "to": "."}]
    (links / platform["bin"]).symlink_to(store / platform["bin"])
    kubectl, ours = ensure("kubernetes") / "kubectl", Path(sys.executable).parent
    path = f"{links}:{kubectl.parent}:{ours}:/usr/bin:/bin"
    answer = subprocess.run(
        [kubectl, "tailseal", "--help"],
        env={"PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "Usage: kubectl tailseal" in answer.stdout


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
