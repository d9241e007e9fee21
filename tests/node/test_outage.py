"""The API server is away: callers notice nothing, no worker is started anew, and then all goes on as before."""

from __future__ import annotations

import json
import time

import pytest

from node.load import Load, exchanges
from node.table import FULL, measured
from node.world import SPACE, SYSTEM, World, until
from tailseal_dev.realnode import config

pytestmark = [pytest.mark.node, pytest.mark.helm, pytest.mark.usefixtures("image")]

OUTAGE = 600.0 if FULL else 5.0
"""Seconds."""

WORKERS = (SPACE, "--selector=tailseal.dev/identity-provider=corp")
OPERATOR = (f"--namespace={SYSTEM}",)


def test_while_the_api_server_is_away_exchanges_go_on_and_then_policies_are_heard_of_again(
    world: World, job: str
) -> None:
    workers, operator = _containers(world, *WORKERS), _containers(world, *OPERATOR)
    with Load({"exchanges": exchanges(world, job)}) as load:
        started = time.monotonic()
        with world.outage():
            time.sleep(OUTAGE)
        seconds = time.monotonic() - started
        asked = load.counts["exchanges"].asked
        until(lambda: load.counts["exchanges"].asked > asked + 3, "exchanges go on")
    measured("the API server away", load.seen(), "0 failed, every token verifies", seconds)
    world.withdraw()
    seconds = until(lambda: world.refused(job), "every replica refuses", within=300)
    ctr = ("ctr", f"--address={config.SOCKET}", "--namespace=k8s.io")
    running = world.node.run(*ctr, "tasks", "ls", "--quiet").split()
    again = "" if operator <= set(running) else "; the operator's container is another"
    text = f"refused by every replica, of which no container is another{again}"
    measured("the API server back, policy deleted", text, "as ever, no worker restarted", seconds)
    world.trust()
    until(lambda: world.granted(job), "every replica grants", within=300)
    assert load.failed == []
    assert workers <= set(running)


def _containers(world: World, *which: str) -> set[str]:
    """Ids of the containers of pods that stay, which are others after a start anew; after an outage status is late."""
    pods = json.loads(world.kubectl("get", "pods", *which, "--output=json"))["items"]
    staying = (pod for pod in pods if "deletionTimestamp" not in pod["metadata"])
    statuses = [each for pod in staying for each in pod["status"]["containerStatuses"]]
    return {each["containerID"].removeprefix("containerd://") for each in statuses}
