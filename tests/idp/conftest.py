"""The folder that a worker of its own process lives in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import replicas


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, as the path of a socket must be."""
    made = Path(tempfile.mkdtemp(prefix="idp-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def on_a_file(folder: Path) -> Path:
    """With a bundle, and a folder `state` for what a worker keeps in a file."""
    (folder / "state").mkdir()
    replicas.bundle(folder)
    return folder
