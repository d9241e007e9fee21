"""Compiled helpers: built once, under a lock, whole or not at all. A Go module of one line stands for Kubernetes."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tailseal_dev.cache import build, golang, progress


@pytest.fixture
def hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> build.Helper:
    source = tmp_path / "dev" / "hello"
    source.mkdir(parents=True)
    (source / "go.mod").write_text("module example.org/hello\n\ngo 1.26.0\n")
    (source / "go.sum").write_text("")
    (source / "main.go").write_text('package main\n\nfunc main() { println("hello") }\n')
    helper = build.Helper("hello", ".", "hello", "-s -w", ("greet",))
    monkeypatch.setattr(build, "SOURCES", tmp_path / "dev")
    monkeypatch.setitem(build.HELPERS, "hello", helper)
    monkeypatch.setenv("GOCACHE", os.environ.get("GOCACHE", str(Path.home() / ".cache" / "go-build")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return helper


def test_a_helper_is_built_once_and_again_only_when_its_sources_change(
    hello: build.Helper, capfd: pytest.CaptureFixture[str]
) -> None:
    first = build.ensure("hello")
    assert subprocess.run([first / "greet"], capture_output=True, check=True).stderr == b"hello\n"
    assert "compiling hello" in capfd.readouterr().err
    assert build.ensure("hello") == first
    assert capfd.readouterr().err == ""
    (hello.source / "main.go").write_text('package main\n\nfunc main() { println("other") }\n')
    assert build.ensure("hello") != first


def test_what_is_left_out_of_a_program_makes_it_another_one(hello: build.Helper) -> None:
    go = golang.find(build.cache_directory())
    assert build.digest(dataclasses.replace(hello, tags="without_extras"), go) != build.digest(hello, go)
    assert "without_extras" in dataclasses.replace(hello, tags="without_extras").build(go, Path("hello"))


def test_a_failed_build_leaves_nothing_behind_and_says_what_the_compiler_said(hello: build.Helper) -> None:
    (hello.source / "main.go").write_text("package main\n\nfunc main() { undefinedThing() }\n")
    with pytest.raises(build.BuildError, match="undefinedThing"):
        build.ensure("hello")
    assert [path.name for path in build.cache_directory().iterdir() if path.is_dir()] == []


@pytest.mark.usefixtures("hello")
def test_two_processes_that_need_a_helper_at_once_build_it_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tailseal_dev.cache import build\n"
        "build.SOURCES = Path(sys.argv[1])\n"
        "build.HELPERS['hello'] = build.Helper('hello', '.', 'hello', '-s -w', ('greet',))\n"
        "build.ensure('hello')\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "dev")]
    environment = {"PYTHONPATH": str(Path(build.__file__).parents[2])}
    both = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=os.environ | environment) for _ in range(2)]
    said = "".join(process.communicate()[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said.count("compiled once") == 1


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        ("go1.26.8 linux/amd64", True),
        ("go1.26 linux/arm64", True),
        ("go2.0", True),
        ("go1.25.9 linux/amd64", False),
        ("devel", False),
        ("", False),
    ],
)
def test_only_a_go_of_the_needed_version_is_taken_from_the_path(version: str, *, enough: bool) -> None:
    assert golang.is_new_enough(version) is enough


def test_without_a_new_enough_go_on_the_path_the_registrys_is_installed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bin" / "go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent), prepend=os.pathsep)
    installed: list[Path] = []

    def install(place: Path) -> None:
        installed.append(place)
        command = place / "go" / "bin" / "go"
        command.parent.mkdir(parents=True)
        command.write_text("#!/bin/sh\necho go version go1.26.6 linux/amd64\n")
        command.chmod(0o755)

    monkeypatch.setattr(golang, "_install", install)
    found = [golang.find(tmp_path / "cache") for _ in range(2)]
    assert {go.version for go in found} == {"go1.26.6 linux/amd64"}
    assert installed == [tmp_path / "cache" / f"{golang.PACKAGE}-{golang.PACKAGE_VERSION}"]


def test_progress_says_what_how_far_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 0.0))
    out = io.StringIO()
    with progress.Progress("compiling hello", 2, "packages", out) as shown:
        shown.step("a")
        assert shown.line() == "compiling hello: 1 of 2 packages, 0:00"
    assert out.getvalue() == "compiling hello: 0 of 2 packages, 0:00\n"
