"""Bounds that select by labels, on a real API server: the label decides, as soon as it is put on or taken off."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import pytest

from tailseal import wiring
from tailseal.machine import load_controllers
from tailseal.reconcile.context import Context, Done, OperatorSettings
from tailseal.runtime.settings import Settings
from tailseal_dev.controlplane import ControlPlane
from wiring.waiting import PATIENCE, hung_up

pytestmark = pytest.mark.cluster

PROVIDER = """
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {name: corp, namespace: selecting}
spec:
  issuer: https://idp.selecting.example
  signingKeys: [{name: corp}]
  bounds:
    - name: teams
      namespaces: {from: Selector, selector: {matchLabels: {tailseal: "yes"}}}
      issuers: ["*"]
      keySources: [Discovery]
      audiences: ["https://*.example"]
---
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {name: deploy, namespace: selected}
spec:
  identityProviderRef: {name: corp, namespace: selecting}
  from: {oidc: {issuer: "https://ci.example", subject: {exact: job}}}
  grants: [{name: api, jwt: {audiences: ["https://api.example"]}}]
"""


async def _nothing(_ctx: Context, _namespace: str, _name: str) -> Done:
    return Done()


async def _eventually(wanted: object, look: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (seen := await asyncio.to_thread(look)) != wanted:
        if time.monotonic() > deadline:
            pytest.fail(f"{seen} is not {wanted}, not within {PATIENCE:.0f} s")
        await asyncio.sleep(0.1)


async def test_a_label_admits_and_its_end_refuses_with_the_settings_that_workers_have(
    plane: ControlPlane, kubeconfig: str
) -> None:
    for namespace in ("selecting", "selected"):
        plane.kubectl("create", "namespace", namespace)
    plane.kubectl("apply", "-f", "-", stdin=PROVIDER)
    real = load_controllers()
    judging = {name: real[name] if name in ("Bundle", "TrustPolicy") else _nothing for name in real}
    stop = asyncio.Event()
    given = Settings(kubeconfig=kubeconfig, health_port=0)
    operator = asyncio.create_task(wiring.run(given, OperatorSettings(), stop=stop, controllers=judging))

    def accepted() -> str:
        query = '{.status.conditions[?(@.type=="Accepted")].reason}'
        return plane.kubectl("get", "trustpolicy", "deploy", "-n", "selected", f"-o=jsonpath={query}")

    def admitted() -> list[str]:
        query = r"{.data.settings\.json}"
        text = plane.kubectl("get", "configmap", "corp-policies", "-n", "selecting", f"-o=jsonpath={query}")
        names: list[str] = json.loads(text)["bounds"][0]["namespaces"]
        return names

    try:
        await _eventually("ExceedsBounds", accepted)
        plane.kubectl("label", "namespace", "selected", "tailseal=yes")
        await _eventually("Accepted", accepted)
        await _eventually(["selected"], admitted)  # which another controller writes
        plane.kubectl("label", "namespace", "selected", "tailseal-")
        await _eventually("ExceedsBounds", accepted)
        await _eventually([], admitted)
    finally:
        stop.set()
        await operator
        await hung_up()
