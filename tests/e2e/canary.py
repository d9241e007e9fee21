"""What must be seen nowhere, and everything that is seen: the two sides of the canary test."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import httpx

from tailseal_dev.demo import stage
from tailseal_dev.demo.stage import SPACE, Stage

SHOWN = (
    "signingkeys,identityproviders,trustpolicies,events.events.k8s.io,configmaps,deployments,replicasets,pods,services"
)
SHORTEST = 20
"""Characters that a secret has at least: shorter lines of a PEM could occur by chance."""


def secrets_of(world: Stage) -> set[str]:
    """Every private key, credential and poll key in the cluster's Secrets, line by line, plain and as base64."""
    found: set[str] = set()
    for secret in json.loads(world.cluster.kubectl("get", "secrets", SPACE, "-o=json", show=False))["items"]:
        for name, data in secret.get("data", {}).items():
            content = base64.b64decode(data)
            if name.endswith((".pem", ".key")) or name == "salt":
                found |= {data, base64.urlsafe_b64encode(content).rstrip(b"=").decode(), content.hex()}
                found |= {line for line in content.decode(errors="ignore").splitlines() if "-----" not in line}
    return {secret for secret in found if len(secret) >= SHORTEST}


def everything_seen(world: Stage) -> Iterator[tuple[str, str]]:
    """Name and text of every log, object that is no Secret, event, status and metric."""
    for log in stage.logs(world.cluster.directory):
        yield str(log), log.read_text(encoding="utf-8", errors="replace")
    yield "objects", world.cluster.kubectl("get", SHOWN, "--all-namespaces", "-o=json", show=False)
    for pod in json.loads(world.cluster.kubectl("get", "pods", SPACE, "-o=json", show=False))["items"]:
        metrics = httpx.get(f"http://{pod['status']['podIP']}:9090/metrics", trust_env=False)
        yield f"metrics of {pod['metadata']['name']}", metrics.raise_for_status().text
    operator = httpx.get(f"http://{world.operator.health}/metrics", trust_env=False)
    yield "metrics of the operator", operator.raise_for_status().text
