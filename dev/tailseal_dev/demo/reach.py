"""The way from this machine to the workers of the user's own cluster: a port-forward to a relay pod beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tailseal_dev.demo.manifests import NAMESPACE

RELAY = "tailseal-demo-relay"
_FIRST_PORT = 9000


def ways(targets: Mapping[int, str]) -> tuple[list[str], list[str]]:
    """Arguments of the relay and of `kubectl port-forward`, for local ports and where they lead."""
    numbered = list(enumerate(targets.items(), _FIRST_PORT))
    return [f"{port}={target}" for port, (_, target) in numbered], [f"{local}:{port}" for port, (local, _) in numbered]


def pod(image: str, arguments: list[str]) -> str:
    """The relay's manifest: it meets the restricted profile, and only a port-forward reaches it."""
    program = Path(__file__).with_name("relay.py").read_text()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": RELAY, "namespace": NAMESPACE},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "relay",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python", "-c", program, *arguments],
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                            "readOnlyRootFilesystem": True,
                        },
                    }
                ],
            },
        }
    )
