"""On the real API server and at a running worker: permission that is withdrawn ends logins, and they stay ended."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import idp
from fakes.applications import CONTROLLERS
from fakes.context import FakeClock, FakeEntropy, FakeReplicas, make_context
from fakes.idp import CALLBACK, Browser, Provider
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.kube import KubeCluster
from tailseal.domain.render.common import decoded
from tailseal.runtime.store import Store
from tailseal_dev.controlplane import ControlPlane

pytestmark = pytest.mark.cluster


@dataclass
class Operator:
    """Its controllers for bundles and clients, run by hand, and a worker that is given what they write."""

    cluster: KubeCluster
    namespace: str
    tenant: str
    worker: Provider
    memory: dict[Any, Any] = field(default_factory=dict)

    async def run(self) -> None:
        """Until there is nothing more to do; then the worker loads what stands there."""
        for _ in range(4):
            store = await self._listed()
            clock = FakeClock()
            replicas = FakeReplicas(None, clock)  # type: ignore[arg-type]  # told below, so never looked up
            replicas.tell(self.namespace, "corp", [])
            random = FakeEntropy(secrets.token_hex())  # none draws again what another has drawn
            ctx = make_context(
                self.cluster,  # type: ignore[arg-type]
                clock,
                objects=store,  # type: ignore[arg-type]
                replicas=replicas,
                memory=self.memory,
                entropy=random,
            )
            await CONTROLLERS["OAuthClient"](ctx, self.tenant, "app")
            await CONTROLLERS["Bundle"](ctx, self.namespace, "corp")
        store = await self._listed()
        files: dict[str, bytes] = {}
        for name in (meta.policies_config_map("corp"), meta.clients_config_map("corp")):
            found = next((obj for obj in store.select(kinds.CONFIG_MAP) if obj["metadata"]["name"] == name), {})
            files |= {file: text.encode() for file, text in (found.get("data") or {}).items()}
            files |= decoded(found.get("binaryData"))
        self.worker.source.put("policies", files)
        self.worker.worker.loader.refresh()
        assert not self.worker.worker.loader.problems, self.worker.worker.loader.problems

    async def _listed(self) -> Store:
        store = Store(lambda _before, _after: None)
        for kind in (*kinds.CUSTOM, *kinds.OWNED):
            for namespace in (self.namespace, self.tenant):
                async for obj in self.cluster.list(kind, namespace):
                    if kind in kinds.CUSTOM or meta.MANAGED_BY in obj["metadata"].get("labels", {}):
                        store.put(obj)
        return store


def provider(tenant: str, *hosts: str) -> dict[str, Any]:
    bound = {
        "name": "apps",
        "namespaces": {"from": "Names", "names": [tenant]},
        "redirectHosts": list(hosts),
        "grantTypes": ["authorization_code", "refresh_token"],
    }
    return {
        "apiVersion": meta.API_VERSION,
        "kind": "IdentityProvider",
        "metadata": {"name": "corp"},
        "spec": {"issuer": idp.ISSUER, "signingKeys": [{"name": "corp"}], "bounds": [bound]},
    }


@pytest.fixture
async def operator(
    crds: Path, control_plane: ControlPlane, kubectl: Callable[..., str], namespace: str, tmp_path: Path
) -> AsyncIterator[Operator]:
    tenant = f"{namespace}-apps"
    kubectl("create", "namespace", tenant)
    async with KubeCluster(kubeconfig=str(control_plane.kubeconfig)) as cluster, idp.running(tmp_path) as worker:
        yield Operator(cluster, namespace, tenant, worker)
    kubectl("delete", "namespace", tenant, "--wait=false")


async def test_a_login_ends_with_its_clients_permission_and_never_comes_back(
    operator: Operator, kubectl: Callable[..., str]
) -> None:
    def apply(obj: dict[str, Any], namespace: str) -> None:
        kubectl("apply", "--namespace", namespace, "-f", "-", stdin=json.dumps(obj))

    def secret() -> tuple[str, str]:
        found = json.loads(kubectl("get", "secret/app-oauthclient", "--namespace", operator.tenant, "--output=json"))
        client_id, client_secret = (base64.b64decode(found["data"][f"client_{part}"]) for part in ("id", "secret"))
        return client_id.decode(), client_secret.decode()

    reference = {"name": "corp", "namespace": operator.namespace}
    spec = {"identityProviderRef": reference, "redirectURIs": [CALLBACK], "allow": {"users": ["*@corp.example"]}}
    app = {"apiVersion": meta.API_VERSION, "kind": "OAuthClient", "metadata": {"name": "app"}, "spec": spec}
    apply(provider(operator.tenant, "app.example"), operator.namespace)
    apply(app, operator.tenant)
    await operator.run()
    ana, client = operator.worker.browser(), secret()

    async def login() -> dict[str, Any]:
        form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": idp.VERIFIER}
        answer = await ana.post("/token", form | {"code": await ana.login(client_id=client[0])}, *client)
        found: dict[str, Any] = answer.json()
        assert answer.status_code == 200, found
        return found

    given, kept = await login(), await login()
    assert (await refresh(ana, client, given)).status_code == 200
    apply(provider(operator.tenant, "other.example"), operator.namespace)
    await operator.run()
    assert (await refresh(ana, client, kept)).json()["error"] == "invalid_client"
    operator.memory.clear()  # another process leads from here on
    apply(provider(operator.tenant, "app.example"), operator.namespace)
    await operator.run()
    client = secret()
    answer = await refresh(ana, client, kept)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    again = await login()
    operator.memory.clear()
    await operator.run()
    assert (await refresh(ana, client, again)).status_code == 200, "a restart ends nothing"


async def refresh(browser: Browser, client: tuple[str, str], given: dict[str, Any]) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    return await browser.post("/token", form, *client)
