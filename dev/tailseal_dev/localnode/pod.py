"""One pod's life on this node: volumes, containers, status, end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tailseal_dev.api import MERGE, Api, ApiError
from tailseal_dev.localnode import command, status
from tailseal_dev.localnode.container import Container, State
from tailseal_dev.localnode.fields import Object, UnsupportedError
from tailseal_dev.localnode.projection import project
from tailseal_dev.localnode.volumes import MissingSourceError, Sources, audiences, render

_RETRY = 1.0
_OF_THE_IMAGE = ("SOFTHSM2_CONF",)
"""Environment that an image would bring: where the token of a library in it is."""


@dataclass(frozen=True, slots=True)
class Node:
    """What pods need of their node.

    Args:
        api: the API server.
        name: the node's name.
        directory: pods' files and logs go below it.
        sync_period: seconds after which volumes are refreshed without being asked, as a kubelet's sync does.
        allocate: an address for a pod that listens on these ports.
        sidecar: command that stands in for native sidecars; empty: pods with such are refused.
    """

    api: Api
    name: str
    directory: Path
    sync_period: float
    allocate: Callable[[Object], str]
    sidecar: tuple[str, ...] = ()


class Pod:
    """Runs one pod from binding to removal."""

    def __init__(self, node: Node, pod: Object) -> None:
        self.address = ""
        self.object = pod
        self._node = node
        self._containers: list[Container] = []
        self._runs: list[asyncio.Task[None]] = []
        self._reported: Object = {}
        self._message = ""
        self._started_at = time.time()
        self._woken, self._unreported = asyncio.Event(), asyncio.Event()
        self._gone = False
        self._tokens: dict[str, str] = {}
        metadata = pod["metadata"]
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        self._directory = node.directory / "pods" / metadata["uid"]
        self._logs = node.directory / "logs" / f"{metadata['namespace']}_{metadata['name']}"

    @property
    def ready(self) -> bool:
        """Whether traffic may be sent to it."""
        ready = bool(self._containers) and all(container.state.ready for container in self._containers)
        return ready and "deletionTimestamp" not in self.object["metadata"]

    def update(self, pod: Object) -> None:
        """The API server has a newer version: a new annotation or a deletion is acted on at once."""
        before, self.object = self.object["metadata"], pod
        after = pod["metadata"]
        if any(before.get(name) != after.get(name) for name in ("annotations", "deletionTimestamp")):
            self._woken.set()

    def remove(self) -> None:
        """The API server no longer has the pod: end at once."""
        self._gone = True
        self._woken.set()
        for container in self._containers:
            container.kill()

    async def run(self) -> None:
        """The whole life; returns when nothing of the pod is left."""
        reporter = asyncio.create_task(self._report_for_ever())
        try:
            await self._prepare()
            await self._live()
            await self._end()
        finally:
            reporter.cancel()
            await self._stop()
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _stop(self) -> None:
        for container in self._containers:
            container.kill()
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)

    def _is_ending(self) -> bool:
        return self._gone or "deletionTimestamp" in self.object["metadata"]

    async def _prepare(self) -> None:
        while not self._is_ending():
            try:
                await self._refresh()
                self._start()
            except (MissingSourceError, UnsupportedError, ApiError) as error:
                self._message = str(error)
                self._unreported.set()
                await self._wait(_RETRY)
            else:
                self._message = ""
                return

    def _start(self) -> None:
        self.address = self.address or self._node.allocate(self.object)
        self.object.setdefault("status", {}).update(podIP=self.address, hostIP="127.0.0.1")
        base = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._directory),
            "HOSTNAME": self.object["metadata"]["name"],
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        } | {name: os.environ[name] for name in _OF_THE_IMAGE if name in os.environ}
        root = self._directory / "root"
        sidecars, specs = self._sidecars(), self._specs()
        processes = [command.process(spec, self.object, root, base) for spec in specs]
        processes = [
            replace(process, argv=self._node.sidecar) if spec in sidecars else process
            for spec, process in zip(specs, processes, strict=True)
        ]
        for spec, process in zip(specs, processes, strict=True):
            log = self._logs / f"{spec['name']}.log"
            container = Container(spec, process, address=self.address, log=log, changed=self._unreported.set)
            self._containers.append(container)
            self._runs.append(asyncio.create_task(container.run(self.object["spec"].get("restartPolicy", "Always"))))

    async def _live(self) -> None:
        while not self._is_ending():
            await self._wait(self._node.sync_period)
            if not self._is_ending():
                try:
                    await self._refresh()
                except (MissingSourceError, UnsupportedError, ApiError) as error:
                    print(f"{self._path}: volumes stay as they are: {error}", file=sys.stderr)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()

    async def _refresh(self) -> None:
        if any(spec not in self._sidecars() for spec in self.object["spec"].get("initContainers", [])):
            raise UnsupportedError("init containers")
        sources = await self._sources()
        for volume in self.object["spec"].get("volumes", []):
            directory = self._directory / "volumes" / volume["name"]
            files = render(volume, sources, self.object)
            if files is None:
                directory.mkdir(parents=True, exist_ok=True)
            else:
                project(directory, files)
        for spec in self._specs():
            self._mount(spec)

    def _sidecars(self) -> list[Object]:
        """Those that something stands in for."""
        first = self.object["spec"].get("initContainers", []) if self._node.sidecar else []
        return [spec for spec in first if spec.get("restartPolicy") == "Always"]

    def _specs(self) -> list[Object]:
        """All that run beside each other."""
        return [*self._sidecars(), *self.object["spec"]["containers"]]

    async def _sources(self) -> Sources:
        found: list[dict[str, Object]] = []
        for plural in ("secrets", "configmaps"):
            listed = await self._node.api.request("GET", f"{self._path.rsplit('/pods/', 1)[0]}/{plural}")
            found.append({obj["metadata"]["name"]: obj for obj in listed["items"]})
        # Once, and not anew before they expire: no pod here lives for an hour.
        for audience in audiences(self.object) - self._tokens.keys():
            self._tokens[audience] = await self._token(audience)
        secrets, config_maps = found
        return Sources(secrets, config_maps, self._tokens)

    async def _token(self, audience: str) -> str:
        account = self.object["spec"]["serviceAccountName"]
        metadata = self.object["metadata"]
        pod = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        spec = {"audiences": [audience] if audience else [], "boundObjectRef": pod}
        path = f"{self._path.rsplit('/pods/', 1)[0]}/serviceaccounts/{account}/token"
        made = await self._node.api.request("POST", path, {"spec": spec})
        return str(made["status"]["token"])

    def _mount(self, spec: Object) -> None:
        for mount in spec.get("volumeMounts", []):
            if "subPath" in mount or "subPathExpr" in mount:
                raise UnsupportedError("subPath mounts")
            place = self._directory / "root" / mount["mountPath"].strip("/")
            if not place.is_symlink():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(self._directory / "volumes" / mount["name"])

    async def _end(self) -> None:
        grace = 0.0 if self._gone else float(self.object["metadata"].get("deletionGracePeriodSeconds", 30))
        await asyncio.gather(*(container.end(grace) for container in self._containers))
        await self._stop()
        if self._gone:
            return
        with contextlib.suppress(ApiError):
            await self._report()
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.object["metadata"]["uid"]}}
            await self._node.api.request("DELETE", self._path, body)

    async def _report_for_ever(self) -> None:
        while True:
            await self._unreported.wait()
            self._unreported.clear()
            try:
                await self._report()
            except ApiError as error:
                if error.status in {404, 409}:  # the pod is gone or another one has its name: events tell
                    continue
                await asyncio.sleep(_RETRY)
                self._unreported.set()

    async def _report(self) -> None:
        seen = [
            status.Seen(container.spec, container.state, complete=run.done())
            for container, run in zip(self._containers, self._runs, strict=True)
        ] or [status.Seen(spec, State(), complete=False) for spec in self._specs()]
        wanted = status.pod_status(
            self._reported,
            seen,
            address=self.address,
            started_at=self._started_at,
            now=time.time(),
            message=self._message,
        )
        if wanted != self._reported:
            patch = {"metadata": {"uid": self.object["metadata"]["uid"]}, "status": wanted}
            await self._node.api.request("PATCH", f"{self._path}/status", patch, content_type=MERGE)
            self._reported = wanted
