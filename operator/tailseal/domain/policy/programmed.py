"""Tells from the replicas' reports whether a policy that stands in the written bundle is served everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailseal.domain.evidence import Replica


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a bundle's policies have come, by names of pods.

    Args:
        serving: reported exactly these policies.
        lagging: reported others, or nothing yet.
        silent: not heard for too long, so that what they serve is unknown.
    """

    serving: tuple[str, ...]
    lagging: tuple[str, ...]
    silent: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every replica serves them; no replica at all proves nothing."""
        return bool(self.serving) and not self.lagging and not self.silent


def spread(replicas: Iterable[Replica], wanted: str, *, now: float, since: float, patience: float) -> Spread:
    """Sort replicas by what they were seen to serve.

    Pods that were ever Ready count until they are gone, Terminating included: they may still answer callers.

    Args:
        replicas: as the probe knows them.
        wanted: digest of the volume `policies` as written, with the policy in it.
        now: Unix seconds.
        since: since when it is waited for (Unix seconds): a replica that never reported is silent from then on.
        patience: seconds without a report after which a replica counts as silent.
    """
    found: dict[str, list[str]] = {"serving": [], "lagging": [], "silent": []}
    for replica in replicas:
        if not replica.ever_ready:
            continue
        report = replica.report
        if report is not None and report.digests.get("policies") == wanted:
            standing = "serving"
        else:
            heard_at = since if report is None else report.heard_at
            standing = "silent" if now - heard_at > patience else "lagging"
        found[standing].append(replica.name)
    return Spread(**{standing: tuple(sorted(pods)) for standing, pods in found.items()})
