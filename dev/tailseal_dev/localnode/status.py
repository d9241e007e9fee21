"""What is reported of a pod and of the node: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tailseal_dev.localnode.container import State, terminated, timestamp
from tailseal_dev.localnode.fields import Object


@dataclass(frozen=True, slots=True)
class Seen:
    """A container's spec and its state; `complete` means it will not run again."""

    spec: Object
    state: State
    complete: bool


def pod_status(
    former: Object, seen: Sequence[Seen], *, address: str, started_at: float, now: float, message: str = ""
) -> Object:
    """The status to report.

    Args:
        former: the status reported before; its conditions keep their transition times.
        seen: the pod's containers; empty while it is being prepared.
        address: the pod's address, empty while it has none.
        started_at: when this node took the pod, Unix seconds.
        now: Unix seconds.
        message: why the pod cannot be prepared, if so.
    """
    ready = bool(seen) and all(entry.state.ready for entry in seen)
    truth = {
        "PodScheduled": True,
        "PodReadyToStartContainers": bool(address),
        "Initialized": True,
        "ContainersReady": ready,
        "Ready": ready,
    }
    return {
        "phase": _phase(seen),
        "hostIP": "127.0.0.1",
        "podIP": address or None,
        "podIPs": [{"ip": address}] if address else None,
        "startTime": timestamp(started_at),
        "message": message or None,
        "conditions": [_condition(former, kind, holds=holds, now=now) for kind, holds in truth.items()],
        "containerStatuses": [_container(entry) for entry in seen],
    }


def _phase(seen: Sequence[Seen]) -> str:
    if seen and all(entry.complete for entry in seen):
        return "Failed" if any(entry.state.exit_code for entry in seen) else "Succeeded"
    return "Running" if any(entry.state.started_at for entry in seen) else "Pending"


def _condition(former: Object, kind: str, *, holds: bool, now: float) -> Object:
    status = "True" if holds else "False"
    for condition in former.get("conditions", []):
        if condition["type"] == kind and condition["status"] == status:
            return {"type": kind, "status": status, "lastTransitionTime": condition["lastTransitionTime"]}
    return {"type": kind, "status": status, "lastTransitionTime": timestamp(now)}


def _container(entry: Seen) -> Object:
    state = entry.state
    return {
        "name": entry.spec["name"],
        "image": entry.spec.get("image", ""),
        "imageID": "",
        "containerID": f"process://{state.pid}" if state.pid else "",
        "ready": state.ready,
        "started": state.started,
        "restartCount": state.restarts,
        "state": _state(entry),
        "lastState": {"terminated": state.former} if state.former and state.restarts else {},
    }


def _state(entry: Seen) -> dict[str, Any]:
    state = entry.state
    if state.waiting:
        return {"waiting": {"reason": state.waiting, "message": state.message}}
    if state.exit_code is not None:
        return {"terminated": terminated(state)}
    return {"running": {"startedAt": timestamp(state.started_at)}}
