"""What `tailseal status` finds: each object's readiness, reason, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tailseal.api.conditions import GOOD_IF_FALSE, ConditionType
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden

if TYPE_CHECKING:
    from tailseal.cluster.port import Cluster, Kind, Object

_ORDER: Final = (kinds.IDENTITY_PROVIDER, kinds.SIGNING_KEY, kinds.TRUST_POLICY, kinds.OAUTH_CLIENT)
_UNSEEN: Final = "the operator, which has not looked at it yet"
_CHANGED: Final = "the operator, which has not looked at the latest change yet"
_PLAIN: Final = frozenset(
    {
        ConditionType.ACCEPTED,
        ConditionType.RESOLVED_REFS,
        ConditionType.PROGRAMMED,
        ConditionType.PUBLISHED,
        ConditionType.READY,
    }
)
_SAID: Final = (ConditionType.STALLED, ConditionType.RECONCILING, ConditionType.ROTATING)
"""What something waits for, the most pressing first."""


@dataclass(frozen=True, slots=True)
class Line:
    """One object.

    Args:
        kind: what it is.
        namespace: where it is.
        name: its name.
        ready: `True`, `False` or `Unknown`, as its condition says; `Unknown` where nobody has looked yet.
        reason: one word of its condition.
        waits_for: what it waits for, or what is wrong; empty if nothing is.
        notes: what has to be said although it works.
    """

    kind: Kind
    namespace: str
    name: str
    ready: str
    reason: str
    waits_for: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """All that may be seen.

    Args:
        lines: providers, keys, policies, clients, each by namespace and name.
        refused: what may not be seen, and why.
    """

    lines: tuple[Line, ...]
    refused: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether all of it works."""
        return all(line.ready == "True" for line in self.lines)


async def survey(cluster: Cluster, namespace: str) -> Survey:
    """Everything of ours there; an empty namespace means all of them.

    Raises:
        ClusterError: the API server is out of reach, or does not know our kinds.
    """
    lines: list[Line] = []
    refused: list[str] = []
    for kind in _ORDER:
        try:
            found = [obj async for obj in cluster.list(kind, namespace)]
        except Forbidden as error:
            refused.append(str(error))
            continue
        lines += sorted((line(kind, obj) for obj in found), key=lambda item: (item.namespace, item.name))
    return Survey(tuple(lines), tuple(refused))


def line(kind: Kind, obj: Object) -> Line:
    """What is to be said of one object: pure."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    conditions = {entry["type"]: entry for entry in status.get("conditions", ())}
    ready = conditions.get("Ready", {})
    notes = tuple(_told(entry) for entry in conditions.values() if _is_note(entry))
    return Line(
        kind,
        metadata["namespace"],
        metadata["name"],
        ready.get("status", "Unknown"),
        ready.get("reason", ""),
        _waits_for(obj, conditions),
        notes,
    )


def _waits_for(obj: Object, conditions: Mapping[str, Mapping[str, Any]]) -> str:
    if not conditions:
        return _UNSEEN
    if obj["status"].get("observedGeneration", 0) != obj["metadata"].get("generation", 0):
        return _CHANGED
    for type_ in _SAID:
        if (found := conditions.get(type_, {})).get("status") == "True":
            return str(found.get("message") or found.get("reason", ""))
    ready = conditions.get("Ready", {})
    return "" if ready.get("status") == "True" else str(ready.get("message", ""))


def _is_note(entry: Mapping[str, Any]) -> bool:
    """Whether a condition beside the usual ones is not as it should be."""
    if entry["type"] in _PLAIN or entry["type"] in _SAID:
        return False
    return (entry["status"] == "True") is (entry["type"] in GOOD_IF_FALSE)


def _told(entry: Mapping[str, Any]) -> str:
    return f"{entry['type']}={entry['status']} {entry.get('reason', '')}: {entry.get('message', '')}"
