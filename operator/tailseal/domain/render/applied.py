"""Says in an object what was applied, so that what was taken out since is seen: an apply not sent drops nothing.

Only what is wanted is compared with what is there; what is wanted no longer looks there like a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailseal.api.meta import APPLIED_ANNOTATION
from tailseal.domain import canonical

_STAMPED: Final = ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy")
"""What is wanted with fewer members than before. Of a claim's spec nothing may go; files are compared exactly."""


def stamped(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the digest of itself, in its own metadata: on a pod's template it would roll the pods."""
    if wanted["kind"] not in _STAMPED:
        return dict(wanted)
    metadata = wanted["metadata"]
    stamp = {APPLIED_ANNOTATION: canonical.digest(canonical.dumps(wanted))}
    return {**wanted, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **stamp}}}


def is_another(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
    """Whether something else was applied last, or by a release that did not say what."""
    stamp = _stamp(wanted)
    return stamp is not None and stamp != _stamp(present)


def _stamp(obj: Mapping[str, Any]) -> Any:  # noqa: ANN401 - what others wrote may be anything
    return (obj["metadata"].get("annotations") or {}).get(APPLIED_ANNOTATION)
