"""A Secret that comes after who names it, on a real API server: it is waited for and said, and nobody has to help."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tailseal_dev.controlplane import ControlPlane
from wiring.waiting import becomes
from wiring.working import working

pytestmark = pytest.mark.cluster

NAMESPACE = "referring"
PROVIDER = """
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {name: corp, namespace: referring}
spec: {}
---
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {name: corp, namespace: referring}
spec:
  issuer: https://idp.referring.example
  signingKeys: [{name: corp}]
  storage: {type: Postgres, postgres: {urlSecretRef: {name: db}}}
"""
URL = "postgresql://ana:pw@db.referring.example/tailseal"
CHANGE = '{"spec":{"workload":{"labels":{"seen":"after"}}}}'
MISSING = (
    "spec.storage.postgres.urlSecretRef: there is no Secret db in namespace referring that carries the label "
    "tailseal.dev/allow=true; create or label it"
)


def _condition(plane: ControlPlane, kind: str) -> tuple[Any, ...]:
    obj = json.loads(plane.kubectl("get", "identityprovider/corp", "-n", NAMESPACE, "-o=json"))
    found = [each for each in obj.get("status", {}).get("conditions", ()) if each["type"] == kind]
    return tuple(found[0].get(part) for part in ("observedGeneration", "status", "reason", "message")) if found else ()


async def _resolves(plane: ControlPlane, *wanted: object) -> None:
    """The condition ResolvedRefs comes to begin like that."""
    await becomes(wanted, lambda: _condition(plane, "ResolvedRefs")[: len(wanted)])


async def test_a_provider_waits_for_its_secret_and_for_the_label_and_goes_on_by_itself(
    plane: ControlPlane, kubeconfig: str
) -> None:
    plane.kubectl("create", "namespace", NAMESPACE)
    async with working(kubeconfig, "IdentityProvider", "SigningKey"):
        plane.kubectl("apply", "-f", "-", stdin=PROVIDER)
        await _resolves(plane, 1, "False", "RefNotFound", MISSING)
        assert _condition(plane, "Stalled")[1:2] != ("True",), "it may come with the next file"

        plane.kubectl("create", "secret", "generic", "db", f"--from-literal=url={URL}", "-n", NAMESPACE)
        plane.kubectl("patch", "identityprovider/corp", "-n", NAMESPACE, "--type=merge", f"--patch={CHANGE}")
        await _resolves(plane, 2, "False", "RefNotFound", MISSING)

        plane.kubectl("label", "secret", "db", "tailseal.dev/allow=true", "-n", NAMESPACE)
        await _resolves(plane, 2, "True", "Resolved")
        copy = ("get", "secret/corp-credentials", "-n", NAMESPACE, r"-o=jsonpath={.data.state\.url}")
        assert plane.kubectl(*copy)

        plane.kubectl("label", "secret", "db", "tailseal.dev/allow-", "-n", NAMESPACE)
        await _resolves(plane, 2, "False", "RefNotFound", MISSING)
        assert plane.kubectl(*copy), "the last good one stays"
