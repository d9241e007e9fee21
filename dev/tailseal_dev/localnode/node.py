"""The node itself: registered and kept alive at the API server, binding what is pending and running what is bound."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import platform
import sys
import time
import traceback
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path

from tailseal_dev.api import APPLY, MERGE, Api, ApiError
from tailseal_dev.localnode import forward, pod
from tailseal_dev.localnode.addresses import free_address
from tailseal_dev.localnode.container import timestamp
from tailseal_dev.localnode.fields import Object, UnsupportedError
from tailseal_dev.localnode.probes import port_number

_BEAT = 10.0
_LEASE_SECONDS = 40
_MANAGER = "local-node"


class LocalNode:
    """Runs until cancelled; its pods end with it.

    Args:
        api: the API server, with an administrator's rights.
        name: the node's name.
        directory: where pods' files and logs go.
        sync_period: seconds after which volumes are refreshed without being asked.
        services: loopback port by `namespace/name` of the Services that are to be reached from outside.
        sidecar: command that stands in for native sidecars; empty: pods with such are refused.
    """

    def __init__(
        self,
        api: Api,
        *,
        name: str,
        directory: Path,
        sync_period: float,
        services: Mapping[str, int],
        sidecar: Sequence[str] = (),
    ) -> None:
        self._api, self._name, self._exposed = api, name, dict(services)
        self._node = pod.Node(api, name, directory, sync_period, self._allocate, tuple(sidecar))
        self._pods: dict[str, pod.Pod] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._services: dict[str, Object] = {}
        self._labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64"),
        }

    async def run(self) -> None:
        """Be a node."""
        await self._register()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat())
                group.create_task(self._api.follow("/api/v1/services", self._service_changed))
                group.create_task(self._api.follow("/api/v1/pods", self._pod_changed))
                for service, port in self._exposed.items():
                    group.create_task(forward.forward(port, functools.partial(self._backends, service)))
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _register(self) -> None:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self._name, "labels": self._labels},
            "spec": {"providerID": f"local://{self._name}"},
        }
        await self._api.request(
            "PATCH", f"/api/v1/nodes/{self._name}", node, content_type=APPLY, fieldManager=_MANAGER, force="true"
        )
        await self._report()

    async def _report(self) -> None:
        capacity = {"cpu": str(os.cpu_count() or 1), "memory": "8Gi", "pods": "110"}
        now = timestamp(time.time())
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "LocalNodeReady",
            "message": "pods run as processes",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": self._name}],
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [ready],
        }
        await self._api.request("PATCH", f"/api/v1/nodes/{self._name}/status", {"status": status}, content_type=MERGE)

    async def _beat(self) -> None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{self._name}"
        while True:
            seconds, fraction = divmod(time.time(), 1)
            renewed = f"{timestamp(seconds).removesuffix('Z')}.{int(fraction * 1e6):06d}Z"
            spec = {"holderIdentity": self._name, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": renewed}
            metadata = {"name": self._name, "namespace": "kube-node-lease"}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            try:
                await self._api.request("PATCH", path, lease, content_type=APPLY, fieldManager=_MANAGER, force="true")
            except ApiError as error:
                print(f"the node's lease was not renewed: {error}", file=sys.stderr)
            await asyncio.sleep(_BEAT)

    def _pod_changed(self, kind: str, obj: Object) -> None:
        uid, spec = obj["metadata"]["uid"], obj["spec"]
        known = self._pods.get(uid)
        if kind == "DELETED":
            if known is not None:
                known.remove()
                del self._pods[uid]
        elif known is not None:
            known.update(obj)
        elif spec.get("nodeName") == self._name and obj.get("status", {}).get("phase") not in {"Succeeded", "Failed"}:
            self._pods[uid] = pod.Pod(self._node, obj)
            self._spawn(self._pods[uid].run())
        elif "nodeName" not in spec and self._fits(obj):
            self._spawn(self._bind(obj))

    def _fits(self, obj: Object) -> bool:
        wanted: Mapping[str, str] = obj["spec"].get("nodeSelector", {})
        return self._labels.items() >= wanted.items()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            traceback.print_exception(error)

    async def _bind(self, obj: Object) -> None:
        metadata = obj["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "target": {"kind": "Node", "name": self._name},
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        with contextlib.suppress(ApiError):  # bound already, or gone: the next event tells
            await self._api.request("POST", path, binding)

    def _allocate(self, obj: Object) -> str:
        ports = [port["containerPort"] for spec in obj["spec"]["containers"] for port in spec.get("ports", [])]
        return free_address(ports, {running.address for running in self._pods.values()})

    def _service_changed(self, kind: str, obj: Object) -> None:
        name = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        if kind == "DELETED":
            self._services.pop(name, None)
        else:
            self._services[name] = obj

    def _backends(self, service: str) -> Sequence[tuple[str, int]]:
        obj = self._services.get(service)
        if obj is None or not obj["spec"].get("selector"):
            return []
        port, selector = obj["spec"]["ports"][0], obj["spec"]["selector"]
        target = port.get("targetPort", port["port"])
        found = []
        for running in self._pods.values():
            metadata = running.object["metadata"]
            matches = metadata.get("labels", {}).items() >= selector.items()
            if matches and running.ready and f"{metadata['namespace']}/" == service[: service.index("/") + 1]:
                with contextlib.suppress(UnsupportedError):
                    found.append((running.address, port_number(target, running.object["spec"]["containers"][0])))
        return found
