"""From one release to another and back, while exchanges go on without a pause: none is lost."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from node.conftest import ROOT
from node.load import Load, exchanges
from node.table import measured
from node.world import PROVIDERS, SPACE, World, evict, until, upgrade
from tailseal_dev.former import COMMIT as FORMER
from tailseal_dev.realnode import images

pytestmark = [pytest.mark.node, pytest.mark.helm]

REPOSITORY = images.TAG.rpartition(":")[0]


@pytest.fixture(scope="module")
def former(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The former release's chart; its image is on the node as `…:former`."""
    folder = tmp_path_factory.mktemp("former")
    archive = subprocess.run(["git", "archive", FORMER, "charts"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"this clone does not have the commit {FORMER}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    built = images.product(f"{REPOSITORY}:former", FORMER, folder / "former.tar")
    world.node.load(built.archive)
    built.archive.unlink()
    return folder / "charts" / "tailseal"


def test_evicting_each_worker_under_its_disruption_budget_loses_no_exchange(world: World, job: str) -> None:
    before = world.pods("sts")
    with Load({"exchanges": exchanges(world, job)}) as load:
        started = time.monotonic()
        refused = sum(evict(world, pod) for pod in before)
        until(lambda: not set(before) & set(world.pods("sts")), "the evicted pods are gone", within=180)
        world.kubectl("rollout", "status", "deployment/corp-sts", SPACE, "--timeout=180s")
        seconds = time.monotonic() - started
    text = f"{load.seen()}; the budget refused {refused} times"
    measured("both token services evicted, one after the other", text, "0 failed, every token verifies", seconds)
    assert refused > 0, "the second waits for the first one's successor"
    assert load.failed == []


def test_a_rollback_to_the_former_release_and_the_upgrade_from_it_lose_no_exchange(
    world: World, job: str, helm: str, former: Path
) -> None:
    for what, chart, tag in (
        ("rolled back to the former release", former, "former"),
        ("upgraded from the former release", ROOT / "charts" / "tailseal", images.TAG.rpartition(":")[2]),
    ):
        image = f"{REPOSITORY}:{tag}"
        with Load({"exchanges": exchanges(world, job)}) as load:
            started = time.monotonic()
            values = (
                f"--set=namespaces={{{PROVIDERS}}}",
                f"--set=image.repository={REPOSITORY}",
                f"--set=image.tag={tag}",
            )
            upgrade(world, helm, chart, "--reset-values", *values)
            until(lambda image=image: _all_run(world, image), f"every worker runs {image}", within=240)  # type: ignore[misc]
            seconds = time.monotonic() - started
        measured(what, load.seen(), "0 failed, every token verifies", seconds)
        assert load.failed == []
        assert world.granted(job)


def _all_run(world: World, image: str) -> bool:
    """Whether both workers' Deployments are rolled out with the image, and no pod of another is left."""
    selector = "--selector=tailseal.dev/identity-provider=corp"
    path = "--output=jsonpath={range .items[*]}{.spec.containers[0].image} {.status.containerStatuses[0].ready} {end}"
    words = world.kubectl("get", "pods", SPACE, selector, path).split()
    return len(words) >= 6 and set(words[0::2]) == {image} and set(words[1::2]) == {"true"}
