"""Another commit of ours on the real node: its image, and the chart to install it with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from node.conftest import ROOT
from node.world import SPACE, World, told, upgrade
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


def change(world: World, helm: str, chart: Path, image: str) -> None:
    """Upgrade to a chart and an image, told what the release was at first; a chart that has no nodes hears of none."""
    values = told(image)
    nodes = "\ntailscale:" in (chart / "values.yaml").read_text()
    upgrade(world, helm, chart, "--reset-values", *(values if nodes else values[:-1]))


def runs_everywhere(world: World, image: str, provider: str, pods: int) -> bool:
    """Whether a provider's Deployments are rolled out with the image, and no pod of another is left."""
    selector = f"--selector=tailseal.dev/identity-provider={provider}"
    path = "--output=jsonpath={range .items[*]}{.spec.containers[0].image} {.status.containerStatuses[0].ready} {end}"
    words = world.kubectl("get", "pods", SPACE, selector, path).split()
    return len(words) >= 2 * pods and set(words[0::2]) == {image} and set(words[1::2]) == {"true"}
