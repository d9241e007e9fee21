"""A rendered Deployment, and the same as an API server gives it back."""

from __future__ import annotations

import copy
from typing import Any

from tailseal.domain.render.common import Provider
from tailseal.domain.render.deployment import Workload, deployment

PROVIDER = Provider("identity", "corp", "uid-1")
WANTED = deployment(PROVIDER, Workload("sts", "x", replicas=2, resources={"requests": {"cpu": "1000m"}}))


def defaulted() -> dict[str, Any]:
    """As an API server gives it back."""
    present = copy.deepcopy(WANTED)
    present["metadata"] |= {"uid": "u", "resourceVersion": "1", "generation": 1}
    present["status"] = {"replicas": 2}
    present["spec"]["progressDeadlineSeconds"] = 600
    pod = present["spec"]["template"]["spec"]
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    pod["serviceAccount"] = pod["serviceAccountName"]
    pod["containers"][0] |= {
        "terminationMessagePath": "/dev/termination-log",
        "resources": {"requests": {"cpu": "1"}},
    }
    pod["containers"][0]["readinessProbe"]["successThreshold"] = 1
    return present
