"""Bounds that select by labels, on a real API server: the label decides, as soon as it is put on or taken off."""

from __future__ import annotations

import json

import pytest

from tailseal_dev.controlplane import ControlPlane
from wiring.waiting import becomes
from wiring.working import working

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


async def test_a_label_admits_and_its_end_refuses_with_the_settings_that_workers_have(
    plane: ControlPlane, kubeconfig: str
) -> None:
    for namespace in ("selecting", "selected"):
        plane.kubectl("create", "namespace", namespace)
    plane.kubectl("apply", "-f", "-", stdin=PROVIDER)

    def accepted() -> str:
        query = '{.status.conditions[?(@.type=="Accepted")].reason}'
        return plane.kubectl("get", "trustpolicy", "deploy", "-n", "selected", f"-o=jsonpath={query}")

    def admitted() -> list[str]:
        query = r"{.data.settings\.json}"
        text = plane.kubectl("get", "configmap", "corp-policies", "-n", "selecting", f"-o=jsonpath={query}")
        names: list[str] = json.loads(text)["bounds"][0]["namespaces"]
        return names

    async with working(kubeconfig, "Bundle", "TrustPolicy"):
        await becomes("ExceedsBounds", accepted)
        plane.kubectl("label", "namespace", "selected", "tailseal=yes")
        await becomes("Accepted", accepted)
        await becomes(["selected"], admitted)  # which another controller writes
        plane.kubectl("label", "namespace", "selected", "tailseal-")
        await becomes("ExceedsBounds", accepted)
        await becomes([], admitted)
