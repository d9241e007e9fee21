"""Probes as a kubelet runs them: HTTP and TCP checks, thresholds, and a pace of their own before the first success."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import httpx

from tailseal_dev.localnode.fields import Object, UnsupportedError

Kind = Literal["startup", "readiness", "liveness"]
_EAGER = 0.2
"""Seconds between readiness checks before the first success; a kubelet would wait its whole period."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of a container, its defaults filled in; times in seconds."""

    kind: Kind
    check: Object
    initial_delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def of(cls, container: Object, kind: Kind) -> Self | None:
        """The container's probe of that kind, if it has one.

        Raises:
            UnsupportedError: it is neither httpGet nor tcpSocket.
        """
        spec = container.get(f"{kind}Probe")
        if spec is None:
            return None
        if "httpGet" not in spec and "tcpSocket" not in spec:
            raise UnsupportedError(f"a {kind} probe that is neither httpGet nor tcpSocket")
        return cls(
            kind=kind,
            check=spec,
            initial_delay=spec.get("initialDelaySeconds", 0),
            period=spec.get("periodSeconds", 10),
            timeout=spec.get("timeoutSeconds", 1),
            successes=spec.get("successThreshold", 1),
            failures=spec.get("failureThreshold", 3),
        )

    def pause(self, *, succeeded: bool) -> float:
        """Seconds until the next check."""
        return self.period if succeeded or self.kind != "readiness" else min(_EAGER, self.period)


@dataclass(slots=True)
class Tally:
    """Counts results in a row and says when the outcome changes."""

    successes: int
    failures: int
    outcome: bool | None = None
    _last: bool | None = None
    _run: int = 0

    def add(self, *, success: bool) -> bool:
        """Count one result; whether the outcome is another one now."""
        self._run = self._run + 1 if success == self._last else 1
        self._last = success
        if self._run < (self.successes if success else self.failures) or success == self.outcome:
            return False
        self.outcome = success
        return True


def port_number(port: int | str, container: Object) -> int:
    """A port as number, looked up among the container's ports if it is a name.

    Raises:
        UnsupportedError: no port has that name.
    """
    if isinstance(port, int):
        return port
    for declared in container.get("ports", []):
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise UnsupportedError(f"no port named {port!r}")


async def passes(probe: Probe, container: Object, address: str, client: httpx.AsyncClient) -> bool:
    """Run the check once against the pod's address."""
    if "tcpSocket" in probe.check:
        return await _connects(address, port_number(probe.check["tcpSocket"]["port"], container), probe.timeout)
    get: Mapping[str, object] = probe.check["httpGet"]
    port = port_number(probe.check["httpGet"]["port"], container)
    url = f"{str(get.get('scheme', 'HTTP')).lower()}://{get.get('host', address)}:{port}{get.get('path', '/')}"
    headers = {entry["name"]: entry["value"] for entry in probe.check["httpGet"].get("httpHeaders", [])}
    with contextlib.suppress(httpx.HTTPError):
        answer = await client.get(url, headers=headers, timeout=probe.timeout)
        return httpx.codes.OK <= answer.status_code < httpx.codes.BAD_REQUEST
    return False


async def _connects(address: str, port: int, timeout: float) -> bool:  # noqa: ASYNC109 - a probe's own time-out
    with contextlib.suppress(OSError, TimeoutError):
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), timeout)
        writer.close()
        return True
    return False
