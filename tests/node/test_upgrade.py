"""From one release to another and back, while exchanges go on without a pause: none is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from node.inherited import Inherited
from node.load import Load, exchanges
from node.releases import PRESENT, REPOSITORY, change, release, runs_everywhere
from node.table import FULL, measured
from node.world import RELEASE, REPLICAS, SPACE, World, evict, lets_one_go, until
from node.world import helm as run_helm
from tailseal_dev.former import COMMIT as FORMER

pytestmark = [pytest.mark.node, pytest.mark.helm]


@pytest.fixture(scope="module")
def former(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The former release's chart; its image is on the node as `…:former`."""
    return release(world, FORMER, "former", tmp_path_factory.mktemp("former"))


def test_evicting_each_worker_under_its_disruption_budget_loses_no_exchange(world: World, job: str) -> None:
    before = world.pods("sts")
    work = {"exchanges": exchanges(world, job), "over kept connections": exchanges(world, job, kept=True)}
    lets_one_go(world, "corp-sts")
    with Load(work) as load:
        started = time.monotonic()
        refused = sum(evict(world, pod) for pod in before)
        until(lambda: not set(before) & set(world.pods("sts")), "the evicted pods are gone", within=180)
        world.kubectl("rollout", "status", "deployment/corp-sts", SPACE, "--timeout=180s")
        seconds = time.monotonic() - started
    text = f"{load.seen()}; the budget refused {refused} times"
    measured("both token services evicted, one after the other", text, "0 failed, every token verifies", seconds)
    assert load.failed == []


@pytest.fixture
def inherited(world: World) -> Iterator[Inherited]:
    """What the former release is to make; no refusal counts while its rights and fences come and go."""
    made = Inherited(world)
    with world.excused():
        yield made
        made.delete()


def test_the_former_release_and_back_lose_no_exchange_and_nothing_that_it_made(
    world: World, job: str, helm: str, former: Path, inherited: Inherited
) -> None:
    """An upgrade renders a chart, a rollback applies what was once rendered."""
    other, image, present = f"{REPOSITORY}:former", _runs(world), _revision(world, helm)
    told = _told(world, helm)
    _change(
        world, job, "changed to the former release by `helm upgrade`", other, partial(_upgrade, helm, former, other)
    )
    earlier = _revision(world, helm)
    started = time.monotonic()
    inherited.make()
    measured("objects of every kind made by the former release", "Ready, granting", "", time.monotonic() - started)
    _change(world, job, "upgraded from it by `helm upgrade`", image, partial(_upgrade, helm, PRESENT, image))
    _still(inherited, image)
    if FULL:
        _change(
            world, job, "brought to the former release by `helm rollback`", other, partial(_roll_back, helm, earlier)
        )
        _still(inherited, other)
        _change(world, job, "brought back from it by `helm rollback`", image, partial(_roll_back, helm, present))
        _still(inherited, image)
    inherited.serve()
    assert _told(world, helm) == told, "what comes later finds the release as it was"


def _still(inherited: Inherited, image: str) -> None:
    """What the former release made is as it was."""
    started = time.monotonic()
    inherited.hold(image)
    step = f"what the former release made, then, with {image.rpartition(':')[2]}"
    seen = "the same keys, signer, secret and objects, its token verifies, each pod replaced once"
    measured(step, seen, "the same, and Ready", time.monotonic() - started)


def _change(world: World, job: str, what: str, image: str, step: Callable[[World], None]) -> None:
    """Have every worker run an image, while exchanges go on."""
    with Load({"exchanges": exchanges(world, job)}) as load:
        started = time.monotonic()
        step(world)
        until(lambda: runs_everywhere(world, image, "corp", REPLICAS), f"every worker runs {image}", within=240)
        seconds = time.monotonic() - started
    measured(what, load.seen(), "0 failed, every token verifies", seconds)
    assert load.failed == []
    until(lambda: world.granted(job), "every replica grants")


def _upgrade(helm: str, chart: Path, image: str, world: World) -> None:
    change(world, helm, chart, image)


def _roll_back(helm: str, revision: int, world: World) -> None:
    run_helm(world, helm, "rollback", RELEASE, str(revision), "--wait", "--timeout=240s")


def _revision(world: World, helm: str) -> int:
    return int(json.loads(run_helm(world, helm, "status", RELEASE, "--output=json"))["version"])


def _told(world: World, helm: str) -> dict[str, object]:
    """The release's values that other tests rest on; what they leave besides is as the chart has it."""
    values = json.loads(run_helm(world, helm, "get", "values", RELEASE, "--output=json"))
    return {name: values.get(name) for name in ("namespaces", "image", "tailscale")}


def _runs(world: World) -> str:
    """The image of the token service."""
    path = "--output=jsonpath={.spec.template.spec.containers[0].image}"
    return world.kubectl("get", "deployment/corp-sts", SPACE, path)
