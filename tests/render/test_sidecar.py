"""The node of the tailnet in a provider's pod: what ties it to the pod's readiness."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tailseal.domain.render.common import Provider
from tailseal.domain.render.deployment import Own, Workload, deployment
from tailseal.domain.render.sidecar import NAME, Sidecar

PROVIDER = Provider("identity", "corp", "uid-1")
SERVE = Sidecar("tailscale:test", "Serve", "corp", "authkey")
DIRECT = Sidecar("tailscale:test", "Direct", "corp", "authkey", port=8444)


SERVES_ON = {"lifecycle": {"preStop": {"sleep": {"seconds": 3}}}}


def node(sidecar: Sidecar, *, file: bool = False) -> dict[str, Any]:
    """Its container, in the Deployment."""
    rendered = deployment(PROVIDER, Workload("idp", "tailseal:test", own=Own(0, file, sidecar=sidecar)))
    found: dict[str, Any]
    (found,) = rendered["spec"]["template"]["spec"]["initContainers"]
    assert found["name"] == NAME
    return found


@pytest.mark.parametrize("sidecar", [SERVE, DIRECT], ids=["Serve", "Direct"])
def test_a_pod_is_not_ready_while_its_node_has_no_address_in_the_tailnet(sidecar: Sidecar) -> None:
    found = node(sidecar)
    probe = found["readinessProbe"]
    assert probe["httpGet"] == {"path": "/healthz", "port": 9002, "scheme": "HTTP"}
    assert (probe["periodSeconds"], probe["timeoutSeconds"], probe["failureThreshold"]) == (2, 2, 2)
    assert found["restartPolicy"] == "Always", "only a sidecar's probe counts, not that of a container that ends"
    told = {entry["name"]: entry.get("value") for entry in found["env"]}
    assert told["TS_ENABLE_HEALTH_CHECK"] == "true", "else nothing answers there"
    assert told["TS_LOCAL_ADDR_PORT"] == "$(POD_IP):9002", "where the kubelet asks"


@pytest.mark.parametrize(
    ("own", "pre_stop", "drain", "hands_over"),
    [
        (Own(0, sidecar=DIRECT), {}, "5", True),
        (Own(0, file=True, sidecar=DIRECT), SERVES_ON, "2", False),
        (Own(0, sidecar=SERVE), SERVES_ON, "2", False),
        (Own(0, file=True), SERVES_ON, "2", False),
    ],
    ids=["others know its callers", "the only one", "behind serve", "no node"],
)
def test_who_hands_over_is_told_at_once_that_it_ends(
    own: Own, pre_stop: dict[str, Any], drain: str, *, hands_over: bool
) -> None:
    rendered = deployment(PROVIDER, Workload("idp", "tailseal:test", own=own))
    (worker,) = rendered["spec"]["template"]["spec"]["containers"]
    assert {name: worker[name] for name in ("lifecycle",) if name in worker} == pre_stop
    assert worker["args"][worker["args"].index("--drain") + 1] == drain
    assert ("--hand-over" in worker["args"]) is hands_over


def test_who_may_have_others_is_ready_when_who_greeted_it_too_early_is_heard() -> None:
    probe = node(DIRECT)["readinessProbe"]
    assert (probe["successThreshold"] - 1) * probe["periodSeconds"] >= 5
    assert "successThreshold" not in node(DIRECT, file=True)["readinessProbe"], "nobody waits for the only one"


def test_a_node_asks_for_what_the_spec_says_and_else_for_little() -> None:
    assert node(SERVE)["resources"] == {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
    said = {"limits": {"cpu": "1", "ephemeral-storage": "1Gi"}}
    assert node(replace(SERVE, resources=said))["resources"] == said
