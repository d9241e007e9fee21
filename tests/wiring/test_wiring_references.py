"""A Secret that comes after who names it, on a real API server: it is waited for and said, and nobody has to help."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from tailseal import wiring
from tailseal.machine import load_controllers
from tailseal.reconcile.context import Context, Done, OperatorSettings
from tailseal.runtime.settings import Settings
from tailseal_dev.controlplane import ControlPlane
from wiring.waiting import PATIENCE, hung_up

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


async def _nothing(_ctx: Context, _namespace: str, _name: str) -> Done:
    return Done()


def _condition(plane: ControlPlane, kind: str) -> tuple[Any, ...]:
    obj = json.loads(plane.kubectl("get", "identityprovider/corp", "-n", NAMESPACE, "-o=json"))
    found = [each for each in obj.get("status", {}).get("conditions", ()) if each["type"] == kind]
    return tuple(found[0].get(part) for part in ("observedGeneration", "status", "reason", "message")) if found else ()


async def _eventually(plane: ControlPlane, kind: str, wanted: tuple[Any, ...]) -> None:
    """The condition begins like that."""
    deadline = time.monotonic() + PATIENCE
    while (seen := await asyncio.to_thread(_condition, plane, kind))[: len(wanted)] != wanted:
        if time.monotonic() > deadline:
            pytest.fail(f"{kind} is {seen}, not {wanted}, not within {PATIENCE:.0f} s")
        await asyncio.sleep(0.1)


async def test_a_provider_waits_for_its_secret_and_for_the_label_and_goes_on_by_itself(
    plane: ControlPlane, kubeconfig: str
) -> None:
    plane.kubectl("create", "namespace", NAMESPACE)
    real = load_controllers()
    at_work = {name: real[name] if name in ("IdentityProvider", "SigningKey") else _nothing for name in real}
    stop = asyncio.Event()
    given = Settings(kubeconfig=kubeconfig, health_port=0)
    operator = asyncio.create_task(wiring.run(given, OperatorSettings(), stop=stop, controllers=at_work))
    try:
        plane.kubectl("apply", "-f", "-", stdin=PROVIDER)
        await _eventually(plane, "ResolvedRefs", (1, "False", "RefNotFound", MISSING))
        assert _condition(plane, "Stalled")[1:2] != ("True",), "it may come with the next file"

        plane.kubectl("create", "secret", "generic", "db", f"--from-literal=url={URL}", "-n", NAMESPACE)
        plane.kubectl("patch", "identityprovider/corp", "-n", NAMESPACE, "--type=merge", f"--patch={CHANGE}")
        await _eventually(plane, "ResolvedRefs", (2, "False", "RefNotFound", MISSING))

        plane.kubectl("label", "secret", "db", "tailseal.dev/allow=true", "-n", NAMESPACE)
        await _eventually(plane, "ResolvedRefs", (2, "True", "Resolved"))
        copy = ("get", "secret/corp-credentials", "-n", NAMESPACE, r"-o=jsonpath={.data.state\.url}")
        assert plane.kubectl(*copy)

        plane.kubectl("label", "secret", "db", "tailseal.dev/allow-", "-n", NAMESPACE)
        await _eventually(plane, "ResolvedRefs", (2, "False", "RefNotFound", MISSING))
        assert plane.kubectl(*copy), "the last good one stays"
    finally:
        stop.set()
        await operator
        await hung_up()
