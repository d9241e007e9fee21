"""One container as a process: started, probed, restarted with back-off, ended with its grace period."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tailseal_dev.localnode import probes
from tailseal_dev.localnode.command import Process
from tailseal_dev.localnode.fields import Object
from tailseal_dev.process import die_with_parent

_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 1.0, 60.0
_CANNOT_RUN = 127
"""Exit code of what could not be started, as shells have it."""
_PROBE_GRACE = 5.0
"""Seconds that a process has to end after a liveness or startup probe condemned it."""
_FORGIVEN_AFTER = 600.0
"""Seconds of running after which earlier crashes no longer count."""


@dataclass(slots=True)
class State:
    """What status says of a container; times are Unix seconds."""

    started_at: float = 0.0
    finished_at: float = 0.0
    pid: int = 0
    exit_code: int | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    waiting: str = "ContainerCreating"
    message: str = ""
    former: dict[str, Any] | None = None


class Container:
    """Runs one container of a pod.

    Args:
        spec: the entry of the pod's `containers`.
        process: what to run.
        address: the pod's address.
        log: where its output goes.
        changed: called whenever `state` changed.
    """

    def __init__(self, spec: Object, process: Process, *, address: str, log: Path, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.state = State()
        self._process, self._address, self._log, self._changed = process, address, log, changed
        self._running: asyncio.subprocess.Process | None = None
        self._ending = False
        self._client = httpx.AsyncClient(verify=False, trust_env=False)  # noqa: S501 - probes check no names

    async def run(self, restart: str) -> None:
        """Run until it ends for good.

        Args:
            restart: the pod's restartPolicy.
        """
        back_off = 0.0
        while not self._is_ending():
            code = await self._once()
            if self._is_ending() or restart == "Never" or (restart == "OnFailure" and code == 0):
                return
            lasted = self.state.finished_at - self.state.started_at
            doubled = _FIRST_BACK_OFF if lasted > _FORGIVEN_AFTER else back_off * 2
            back_off = min(max(doubled, _FIRST_BACK_OFF), _LONGEST_BACK_OFF)
            self.state.waiting = "CrashLoopBackOff"
            self.state.message = f"ended with {code}; starting again in {back_off:.0f} s; see {self._log}"
            self._changed()
            await asyncio.sleep(back_off)
            self.state.restarts += 1

    async def end(self, grace: float) -> None:
        """PreStop pause and TERM within `grace` seconds, then KILL."""
        deadline = asyncio.get_running_loop().time() + grace
        self._ending = True
        pause = self.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if self._is_running():
            await self._ended_within(min(pause, grace))
        self._signal(signal.SIGTERM)
        await self._ended_within(max(0.0, deadline - asyncio.get_running_loop().time()))
        self.kill()
        await self._client.aclose()

    def kill(self) -> None:
        """End it and all it started, at once."""
        self._ending = True
        self._signal(signal.SIGKILL)

    async def _once(self) -> int:
        try:
            self._running = running = await self._spawn()
        except OSError as error:
            print(f"{self._process.argv[0]}: {error}", file=sys.stderr)
            self._began(0)
            self._over(_CANNOT_RUN)
            return _CANNOT_RUN
        self._began(running.pid)
        watchers = asyncio.create_task(self._probe_all())
        try:
            code = await running.wait()
        finally:
            watchers.cancel()
            self._signal(signal.SIGKILL)
        self._over(code)
        return code

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *self._process.argv,
                env=dict(self._process.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(),  # only prctl and getppid run there
            )

    def _began(self, pid: int) -> None:
        unprobed = "startupProbe" not in self.spec
        state = self.state
        state.pid, state.started_at, state.exit_code = pid, time.time(), None
        state.started, state.ready = unprobed, unprobed and "readinessProbe" not in self.spec
        state.waiting = state.message = ""
        self._changed()

    def _over(self, code: int) -> None:
        state = self.state
        state.exit_code, state.finished_at, state.started, state.ready = code, time.time(), False, False
        state.former = terminated(state)
        self._changed()

    async def _probe_all(self) -> None:
        startup = probes.Probe.of(self.spec, "startup")
        if startup is not None:
            await self._probe(startup)
        others = [probes.Probe.of(self.spec, kind) for kind in ("readiness", "liveness")]
        await asyncio.gather(*(self._probe(probe) for probe in others if probe is not None))

    async def _probe(self, probe: probes.Probe) -> None:
        tally = probes.Tally(probe.successes, probe.failures)
        await asyncio.sleep(probe.initial_delay)
        while True:
            success = await probes.passes(probe, self.spec, self._address, self._client)
            if tally.add(success=success):
                await self._probed(probe, success=success)
            if probe.kind == "startup" and success:
                return
            await asyncio.sleep(probe.pause(succeeded=tally.outcome is not None))

    async def _probed(self, probe: probes.Probe, *, success: bool) -> None:
        if probe.kind == "startup" and success:
            self.state.started = True
            self.state.ready = "readinessProbe" not in self.spec
        elif probe.kind == "readiness":
            self.state.ready = success
        elif not success:
            self._signal(signal.SIGTERM)
            await self._ended_within(_PROBE_GRACE)
            self._signal(signal.SIGKILL)
        self._changed()

    async def _ended_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            if self._running is not None:
                await asyncio.wait_for(self._running.wait(), seconds)

    def _is_ending(self) -> bool:
        return self._ending

    def _is_running(self) -> bool:
        return self._running is not None and self._running.returncode is None

    def _signal(self, number: signal.Signals) -> None:
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._running.pid, number)


def terminated(state: State) -> dict[str, Any]:
    """The `terminated` state of a container that ended."""
    code = state.exit_code or 0
    return {
        "exitCode": code if code >= 0 else 128 - code,
        "reason": "Completed" if code == 0 else "Error",
        "startedAt": timestamp(state.started_at),
        "finishedAt": timestamp(state.finished_at),
    }


def timestamp(seconds: float) -> str:
    """RFC 3339, whole seconds, as `metav1.Time`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
