"""The image is a function of the commit: what was reviewed is what runs, and anybody can check it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailseal_dev.realnode import images

pytestmark = pytest.mark.node


def test_one_commit_built_twice_is_one_image(image: images.Built, tmp_path: Path) -> None:
    again = images.product("localhost/tailseal:again", image.commit, tmp_path / "again.tar")
    assert again.digest == image.digest
