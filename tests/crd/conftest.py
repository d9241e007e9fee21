"""A small client of the real API server that shows its answers."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tailseal.api.kinds import KINDS
from tailseal.api.meta import GROUP, VERSION
from tailseal_dev.controlplane import ControlPlane


@dataclass(frozen=True)
class Api:
    """Requests about objects of ours in one namespace."""

    client: httpx.Client
    namespace: str

    def path(self, kind: str, name: str = "") -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{KINDS[kind].plural}/{name}".rstrip("/")

    def create(self, obj: dict[str, Any], *, dry_run: bool = True) -> httpx.Response:
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return self.client.post(self.path(obj["kind"]), json=obj, params=query)

    def apply(
        self, obj: dict[str, Any], *, manager: str = "git", force: bool = False, dry_run: bool = False
    ) -> httpx.Response:
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        return self.client.patch(
            self.path(obj["kind"], obj["metadata"]["name"]),
            content=json.dumps(obj),
            headers={"Content-Type": "application/apply-patch+yaml"},
            params=query | ({"dryRun": "All"} if dry_run else {}),
        )

    def patch(self, kind: str, name: str, change: dict[str, Any]) -> httpx.Response:
        return self.client.patch(
            self.path(kind, name),
            content=json.dumps(change),
            headers={"Content-Type": "application/merge-patch+json"},
            params={"fieldManager": "kubectl-patch"},
        )


@pytest.fixture(scope="module")
def client(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An administrator's client."""
    user = yaml.safe_load(control_plane.kubeconfig.read_text())["users"][0]["user"]
    pair = tmp_path_factory.mktemp("client") / "pair.pem"
    pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
    context = ssl.create_default_context(cafile=str(control_plane.certificate_authority))
    context.load_cert_chain(pair)
    with httpx.Client(base_url=control_plane.server, verify=context, timeout=60) as http:
        yield http


@pytest.fixture
def api(crds: Path, client: httpx.Client, namespace: str) -> Api:
    """The API in a namespace of the test's own."""
    return Api(client, namespace)
