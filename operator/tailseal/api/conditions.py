"""Conditions: what is true of an object, why, and since when."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, ValidationError

from tailseal.api.base import ApiModel, Items
from tailseal.api.times import Timestamp, format_time

MESSAGE_LENGTH = 2048
"""Longest message; longer ones are cut."""


class ConditionType(StrEnum):
    """The conditions that our kinds have."""

    ACCEPTED = "Accepted"
    """The spec is valid, within bounds and supported."""
    RESOLVED_REFS = "ResolvedRefs"
    """Everything that the spec names is there, and we may read it."""
    PROGRAMMED = "Programmed"
    """Every replica was seen to serve it (IdentityProvider, TrustPolicy)."""
    PUBLISHED = "Published"
    """Every replica was seen to serve the public keys (SigningKey); every place of `publish` was seen to hold them
    (IdentityProvider)."""
    READY = "Ready"
    """It works now: the summary for `kubectl wait`."""
    RECONCILING = "Reconciling"
    """True while something is under way (kstatus)."""
    ROTATING = "Rotating"
    """True while a key follows another. All works meanwhile, so to kstatus nothing is under way: whoever waits for what
    he applied, as Flux does, need not wait for a rotation of a day."""
    STALLED = "Stalled"
    """True when it will not go on by itself (kstatus)."""
    FAST_PROPAGATION = "FastPropagation"
    """False where changes travel at the kubelet's pace, because we may not annotate worker pods."""
    FENCED = "Fenced"
    """False where a ValidatingAdmissionPolicy of the chart is missing, so that RBAC alone limits the operator."""
    REPAIRED = "Repaired"
    """False while what others put into something of ours comes back in each write; the message says what, and whose
    container it is. `Ready` has this reason then, also where it is True."""
    SETTINGS_CURRENT = "SettingsCurrent"
    """False while workers of a former release read settings of a version before the present one."""
    WORKERS_AVAILABLE = "WorkersAvailable"
    """False while a worker pod does not come up; the message says which and why."""
    OVERLAP_BROKEN = "OverlapBroken"
    """True after an emergency revocation that left verifiers without a key they knew."""
    OVERLAPPING = "Overlapping"
    """True while another TrustPolicy of the namespace trusts every token that this one trusts, and so stands in its
    way: the message says which and how."""
    VERIFIERS_UNREACHED = "VerifiersUnreached"
    """True after a revocation, until the key's id is taken off `revokedKeyIDs`: some verifiers keep what they have
    fetched, a kube-apiserver for ever; the message says what to do about it."""
    CLOCK_SKEW = "ClockSkew"
    """True while a replica's clock is off by more than clockSkew; the message names it."""
    TAILNET_JOINED = "TailnetJoined"
    """False while a node of the identity provider is not on the tailnet; the message says which, and its state."""
    ISSUER_SHARED = "IssuerShared"
    """False where several nodes answer for one issuer, and nothing is said of how its name leads to all of them."""
    NODES_LEFT = "NodesLeft"
    """True while an identity is kept of a node that no replica is any more; the message says what to remove where."""
    RESTRICTED = "Restricted"
    """False where the namespace must admit more than Pod Security's level `restricted`."""


GOOD_IF_FALSE: Final = frozenset(
    {
        ConditionType.RECONCILING,
        ConditionType.ROTATING,
        ConditionType.STALLED,
        ConditionType.OVERLAP_BROKEN,
        ConditionType.OVERLAPPING,
        ConditionType.VERIFIERS_UNREACHED,
        ConditionType.CLOCK_SKEW,
        ConditionType.NODES_LEFT,
    }
)
"""Those that say something while they are true; of all others, people have to know while they are not."""


class Condition(ApiModel):
    """One observation, as `metav1.Condition` has it."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """What is observed."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is true."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """Why, as one word that programs may act on."""
    message: Annotated[str, StringConstraints(max_length=MESSAGE_LENGTH)] = Field(
        default="", json_schema_extra={"x-default-in-code": True}
    )
    """Why, for people: what is wrong, where, and what would be right."""
    observed_generation: int | None = None
    """Generation of the spec that was looked at."""
    last_transition_time: Timestamp | None = None
    """When `status` last changed."""


Conditions = Annotated[tuple[Condition, ...], Items(32, "map", key="type")]
"""With room for all types at once and some to come: of an object with one too many nothing could be written."""


def set_condition(conditions: Iterable[Condition], new: Condition, now: float) -> tuple[Condition, ...]:
    """The conditions with one replaced or added, in stable order.

    Args:
        conditions: those that the object has.
        new: the one to set; its own `last_transition_time` does not count.
        now: Unix seconds, taken over as transition time only if the status flips.
    """
    present = tuple(conditions)
    old = next((item for item in present if item.type == new.type), None)
    kept = old is not None and old.status == new.status
    since = old.last_transition_time if old is not None and kept else None
    update = {"last_transition_time": since or format_time(now), "message": new.message[:MESSAGE_LENGTH]}
    stamped = new.model_copy(update=update)
    if old is None:
        return (*present, stamped)
    return tuple(stamped if item.type == new.type else item for item in present)


def get_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((item for item in conditions if item.type == type_), None)


def conditions_of(obj: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions in a Kubernetes object's status, none if there are none yet.

    A later version may have written them: what it says more is left out, and what cannot be read is as if not there.
    """
    return tuple(_readable(obj.get("status", {}).get("conditions", ())))


def _readable(items: Iterable[Any]) -> Iterator[Condition]:
    for item in items:
        with contextlib.suppress(ValidationError):
            yield Condition.model_validate(item, extra="ignore")
