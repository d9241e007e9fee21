"""Installs the packages of a lock file once, for verifiers of ours that are written in JavaScript."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tailseal_dev.cache.build import SOURCES, BuildError, cache_directory

_WITHIN = 120.0


def installed(name: str) -> Path:
    """A directory with the scripts of `dev/<name>` and what they import.

    Raises:
        BuildError: there is no Node.js here, or the packages cannot be had.
    """
    source = SOURCES / name
    if not (npm := shutil.which("npm")) or not shutil.which("node"):
        raise BuildError(f"{name} needs Node.js and npm on the PATH")
    files = sorted(path for path in source.iterdir() if path.is_file())
    content = b"".join(path.name.encode() + b"\n" + path.read_bytes() for path in files)
    place = cache_directory() / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        _install(npm, files, place)
    return place


def _install(npm: str, files: list[Path], place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as temporary:
        fresh = Path(temporary) / "packages"
        fresh.mkdir()
        for file in files:
            shutil.copy(file, fresh)
        argv = [npm, "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        result = subprocess.run(argv, cwd=fresh, capture_output=True, text=True, check=False, timeout=_WITHIN)
        if result.returncode != 0:
            raise BuildError(
                f"`npm ci` ended with {result.returncode} in {place.name}:\n  {result.stderr.strip()[-500:]}"
            )
        if not place.exists():  # another process may have been faster
            fresh.rename(place)
