"""Nothing happens: then nothing is written, and what it costs to run is measured."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from node.table import FULL, measured
from node.world import PROVIDERS, SPACE, SYSTEM, World, seconds_of, until

pytestmark = [pytest.mark.node, pytest.mark.helm, pytest.mark.usefixtures("image")]

REST = 600.0 if FULL else 10.0
"""Seconds."""

COST = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
ticks = open("/proc/1/stat").read().rpartition(")")[2].split()[11:13]
print(json.dumps([int(status["VmRSS"].split()[0]) / 1024, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")]))
"""


APP = f"""\
apiVersion: tailseal.dev/v1alpha1
kind: OAuthClient
metadata: {{name: resting, namespace: {PROVIDERS}}}
spec:
  identityProviderRef: {{name: corp}}
  type: Public
  redirectURIs: ["https://app.example/callback"]
"""


@pytest.fixture
def app(world: World) -> Iterator[None]:
    """An application that every replica knows; nobody can log in without a tailnet."""
    world.kubectl("apply", "-f", "-", stdin=APP)
    yield
    world.kubectl("delete", "oauthclient/resting", SPACE)


@pytest.mark.usefixtures("job", "app")
def test_at_rest_nothing_is_written(world: World) -> None:
    """The operator's Lease aside, which says that it lives; each kind of ours is there, with a status."""
    objects = ("signingkey/corp", "identityprovider/corp", "trustpolicy/deploy")
    world.kubectl("wait", "--for=condition=Ready", *objects, SPACE, "--timeout=120s")
    world.kubectl("wait", "--for=condition=Programmed", "oauthclient/resting", SPACE, "--timeout=120s")
    until(lambda: _quiet_since(world) > 5, "what was begun is done", within=120)
    before, costs = len(_writes(world)), _costs(world)
    time.sleep(REST)
    after, written = _costs(world), _writes(world)[before:]
    for name, (memory, spent) in after.items():
        seen = f"{memory:.0f} MB resident, {1000 * (spent - costs[name][1]) / REST:.1f} ms CPU a second"
        measured(f"at rest: {name}", seen, "little")
    leases = Counter("lease" in line for line in written)
    text = f"{leases[False]} writes, {leases[True]} renewals of the Lease"
    measured("at rest, by the audit log of the API server", text, "0 writes", REST)
    assert [line for line in written if "lease" not in line] == []


def _ours(world: World) -> list[dict[str, Any]]:
    """Writes by our accounts."""
    spaces = (f"system:serviceaccount:{SYSTEM}:", f"system:serviceaccount:{PROVIDERS}:")
    return [event for event in world.node.plane.audit() if event["user"]["username"].startswith(spaces)]


def _writes(world: World) -> list[str]:
    return [f"{event['verb']} {event['requestURI']}" for event in _ours(world) if "dryRun" not in event["requestURI"]]


def _quiet_since(world: World) -> float:
    """Seconds since the last write that was not the Lease's."""
    seen = [event for event in _ours(world) if "lease" not in event["requestURI"]]
    return time.time() - seconds_of(seen[-1]) if seen else 0.0


def _costs(world: World) -> dict[str, tuple[float, float]]:
    """Megabytes resident and CPU seconds so far, of one pod of each component."""
    pods = {"operator": (SYSTEM, "deployment/tailseal-operator")}
    pods |= {component: (PROVIDERS, world.pods(component)[0]) for component in ("sts", "idp")}
    found = {}
    for name, (namespace, pod) in pods.items():
        answer = world.kubectl("exec", pod, f"--namespace={namespace}", "--", "python", "-c", COST)
        memory, spent = json.loads(answer)
        found[name] = (memory, spent)
    return found
