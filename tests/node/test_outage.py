"""The API server is away: callers notice nothing, no worker is started anew, and then all goes on as before."""

from __future__ import annotations

import json
import time

import pytest

from node.load import Load, exchanges
from node.table import FULL, measured
from node.world import SPACE, SYSTEM, World, until

pytestmark = [pytest.mark.node, pytest.mark.helm, pytest.mark.usefixtures("image")]

OUTAGE = 600.0 if FULL else 5.0
"""Seconds."""

WORKERS = (SPACE, "--selector=tailseal.dev/identity-provider=corp")
OPERATOR = (f"--namespace={SYSTEM}",)


def test_while_the_api_server_is_away_exchanges_go_on_and_then_policies_are_heard_of_again(
    world: World, job: str
) -> None:
    workers, operator = _restarts(world, *WORKERS), _restarts(world, *OPERATOR)
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
    again = sum(_restarts(world, *OPERATOR).values()) - sum(operator.values())
    text = f"refused by every replica; the operator started anew {again} times, workers never"
    measured("the API server back, policy deleted", text, "as ever, no worker restarted", seconds)
    world.trust()
    until(lambda: world.granted(job), "every replica grants", within=300)
    assert load.failed == []
    assert _restarts(world, *WORKERS) == workers


def _restarts(world: World, *which: str) -> dict[str, int]:
    """How often each container was started anew, by pod and name."""
    pods = json.loads(world.kubectl("get", "pods", *which, "--output=json"))["items"]
    return {
        f"{pod['metadata']['name']}/{each['name']}": each["restartCount"]
        for pod in pods
        for each in pod["status"].get("containerStatuses", ())
    }
