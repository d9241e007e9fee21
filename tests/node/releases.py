"""Another commit of ours on the real node: its image, and the chart to install it with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from node.conftest import ROOT
from node.world import PROVIDERS, World, upgrade
from tailseal_dev.realnode import images

REPOSITORY = images.TAG.rpartition(":")[0]
PRESENT = ROOT / "charts" / "tailseal"


def release(world: World, commit: str, tag: str, folder: Path) -> Path:
    """The chart of a commit; its image is on the node under the tag."""
    archive = subprocess.run(["git", "archive", commit, "charts"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"this clone does not have the commit {commit}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    built = images.product(f"{REPOSITORY}:{tag}", commit, folder / "image.tar")
    world.node.load(built.archive)
    built.archive.unlink()
    return folder / "charts" / "tailseal"


def change(world: World, helm: str, chart: Path, image: str, *more: str) -> None:
    """Upgrade to a chart and an image, whatever the release had been told before."""
    tag = image.rpartition(":")[2]
    values = (f"--set=namespaces={{{PROVIDERS}}}", f"--set=image.repository={REPOSITORY}", f"--set=image.tag={tag}")
    upgrade(world, helm, chart, "--reset-values", *values, *more)
