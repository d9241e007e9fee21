"""Why a provider's pods do not come up, from what Kubernetes says of them: pure, in words that hold still.

A status that repeated the kubelet's texts as they are would change with every attempt (back-off times, attempt
numbers), and could tell what a registry's address carries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailseal.cluster.port import Object

LENGTH: Final = 300
"""Characters of a quoted text; longer ones are cut."""

_UNDER_WAY: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
_PULLING: Final = frozenset({"ErrImagePull", "ImagePullBackOff"})
_QUOTED: Final = frozenset({"CreateContainerConfigError", "ErrImageNeverPull", "InvalidImageName"})
"""Whose texts name what is missing and do not change from attempt to attempt."""

_SPARED: Final = (
    (re.compile(r"\s+"), " "),
    (re.compile(r"//[^/@\s\"]*@"), "//"),
    (re.compile(r"\?[^\s\"']*"), ""),
    (re.compile(r"(?i)(token|password|secret|authorization|key)=[^\s&\"',;]+"), r"\1=…"),
    (re.compile(r"(?i)\b(bearer|basic|token|password|secret)[=:]? +?[-\w+/=.~]{8,}"), r"\1 …"),
    (re.compile(r"[\d.]+:\d+->"), ""),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One pod, or a Deployment without pods, that will hardly come up.

    Args:
        where: `pod NAME` or `deployment NAME`.
        reason: Kubernetes' word, e.g. `ImagePullBackOff`.
        message: what is wrong; may be empty.
        stuck: whether a person must act.
    """

    where: str
    reason: str
    message: str = ""
    stuck: bool = True

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.where, self.reason, self.message)))


def troubles(pods: Iterable[Object], deployments: Iterable[Object]) -> tuple[Trouble, ...]:
    """What keeps pods from becoming ready, by name; pods that are on their way, or out, are not among them."""
    found = [trouble for pod in pods if (trouble := _of_pod(pod))]
    found += [trouble for deployment in deployments if (trouble := _of_deployment(deployment))]
    return tuple(sorted(found, key=lambda trouble: (not trouble.stuck, trouble.where)))


def describe(found: tuple[Trouble, ...]) -> str:
    """The first of them, and how many more there are."""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{found[0]}{more}"


def _of_pod(pod: Object) -> Trouble | None:
    status, where = pod.get("status", {}), f"pod {pod['metadata']['name']}"
    if "deletionTimestamp" in pod["metadata"] or _condition(status, "Ready").get("status") == "True":
        return None
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        return Trouble(where, "Unschedulable", spared(scheduled.get("message", "")), stuck=False)
    return next(filter(None, (_of_container(where, each) for each in _containers(status))), None)


def _of_container(where: str, status: Mapping[str, Any]) -> Trouble | None:
    if status.get("ready"):  # whatever it once ended of, another keeps the pod from being ready
        return None
    waiting = status.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULLING:
        # Both take turns: the back-off repeats the error that led to it.
        return Trouble(where, "ImagePullBackOff", spared(message.rpartition("ErrImagePull: ")[2]))
    # A container that ends again and again is running, waiting or ended whenever one looks.
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    if ended and status.get("restartCount", 0) > 0 and reason in (*_UNDER_WAY, "CrashLoopBackOff"):
        why = f" ({ended['reason']})" if ended.get("reason") else ""
        return Trouble(where, "CrashLoopBackOff", f"{status['name']} ends with exit code {ended.get('exitCode')}{why}")
    if reason in _UNDER_WAY:
        return None
    return Trouble(where, reason, spared(message) if reason in _QUOTED else "")


def _of_deployment(deployment: Object) -> Trouble | None:
    failure = _condition(deployment.get("status", {}), "ReplicaFailure")
    if failure.get("status") != "True":
        return None
    # Before it stands the name of the pod that was refused, another one each time.
    message = failure.get("message", "").rpartition(" is forbidden: ")[2]
    return Trouble(f"deployment {deployment['metadata']['name']}", failure.get("reason", ""), spared(message))


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((entry for entry in status.get("conditions") or () if entry.get("type") == kind), {})


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for member in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(member) or ()


def spared(text: str) -> str:
    """One line of limited length without addresses' credentials, queries and passing port numbers."""
    for pattern, instead in _SPARED:
        text = pattern.sub(instead, text)
    text = text.strip()
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 1]}…"
