"""What was seen of the replicas that serve an issuer: the facts on which rotation and `Programmed` rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_SHOWN: Final = 3
"""Names in a line."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one replica said of itself when it was last heard. Times are Unix seconds.

    Args:
        sent_at: our clock when the question left.
        heard_at: our clock when the answer was complete.
        clock: the replica's own clock when it answered.
        digests: digest per bundle volume (`signing`, `policies`, `credentials`) that it has loaded.
        served: key ids in the JWKS that it serves.
        held: key ids that it could sign with.
        signing: the key id it signs with, by algorithm.
        problems: short reason words of what it could not load, never content.
        revision: of the issuer's ledger that its keys follow from; 0: not said.
        node: `state`, `name` and `id` of its node in the tailnet; empty: it has none.
        reads: the latest version of settings that it can read; who does not say so reads the first.
    """

    sent_at: float
    heard_at: float
    clock: float
    digests: Mapping[str, str]
    served: frozenset[str]
    held: frozenset[str]
    signing: Mapping[str, str]
    problems: tuple[str, ...] = ()
    revision: int = 0
    node: Mapping[str, str] = field(default_factory=dict)
    reads: int = 1


@dataclass(frozen=True, slots=True)
class Copy:
    """A place that the key set is read from beside the replicas, and what an anonymous reader of it got.

    Args:
        name: for people.
        seen: ids of the keys that the last answer had, with our key material; None: not known now.
        sent_at: our clock, in Unix seconds, when that reader asked.
        since: when we last put a key there, by id; Unix seconds.
        fresh: nothing was there before our first set, so no cache holds one without its keys.
    """

    name: str
    seen: frozenset[str] | None = None
    sent_at: float = 0.0
    since: Mapping[str, float] = field(default_factory=dict)
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Replica:
    """A worker pod, known by watch, with what it last reported, if it ever did.

    A pod that was ever Ready counts until it is gone, Terminating included; one that never was does not.
    """

    uid: str
    name: str
    component: str
    ever_ready: bool
    ready: bool
    terminating: bool
    report: Report | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def listed(names: Sequence[str]) -> str:
    """Names of replicas or copies for a line that people read: the first ones, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
