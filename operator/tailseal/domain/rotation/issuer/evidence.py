"""What the replicas' reports prove: whose clock to believe, who may lack a key, who may still sign with one.

No single clock is believed. An instant is recorded as late as any clock says it is, and compared with as early as any
clock says it is: then a jump of one of them delays a step and never brings it forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tailseal.domain.evidence import Copy, Replica, Report
from tailseal.domain.rotation.issuer.ledger import IssuedKey

FRESH = 60.0
"""Seconds for which a report says something about the present."""

MAX_SKEW = 300.0
"""Seconds of difference beyond which a clock is not believed; workers do not answer such a poll either."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The replicas as they were last seen, and the present time as an interval.

    Args:
        pods: all pods that exist.
        now: our clock, Unix seconds.
        early: no believed clock says an earlier time; None while no replica confirms ours: nothing falls due then.
        late: no believed clock says a later time.
        mark: not before now, and not before any report we have: a report sent after it is news, even if our clock
            was set back in between.
        copies: where the set is read from beside the replicas, as far as new keys wait for it.
    """

    pods: tuple[Replica, ...]
    now: float
    early: float | None
    late: float
    mark: float
    copies: tuple[Copy, ...] = ()

    @property
    def counted(self) -> tuple[Replica, ...]:
        """The replicas of the laws: pods that were ever Ready and are not gone."""
        return tuple(pod for pod in self.pods if pod.ever_ready)


def gather(replicas: Sequence[Replica], now: float) -> Evidence:
    """Everything that the reports say about the present."""
    fresh = [pod.report for pod in replicas if pod.ever_ready and pod.report and pod.report.heard_at > now - FRESH]
    clocks = [report.clock for report in fresh if abs(report.clock - report.heard_at) <= MAX_SKEW]
    agreed = bool(fresh) and len(clocks) == len(fresh)
    return Evidence(
        pods=tuple(sorted(replicas, key=lambda pod: pod.name)),
        now=now,
        early=min(now, *clocks) if agreed else None,
        late=max((now, *clocks)),
        mark=max([now, *(pod.report.heard_at for pod in replicas if pod.report)]),
    )


def serving(key: IssuedKey, evidence: Evidence) -> IssuedKey:
    """The key with what is now known of the pods that may serve a set without it.

    Once one replica serves it, the Secret with it is written: pods that appear later start with it, and only those
    that exist at that moment can lack it. So replicas that come and go do not restart the wait.
    """
    without = {pod.uid for pod in evidence.pods if not _serves(pod.report, key)}
    if key.behind is None:
        if len(without) == len(evidence.pods):
            return key
        return key.but(behind=tuple(sorted(without)), last_without=max(key.last_without, evidence.late))
    seen_without = {pod.uid for pod in evidence.counted if pod.uid in without and _after(pod.report, key.published_at)}
    behind = (without & set(key.behind)) | seen_without
    last = max(key.last_without, evidence.late) if set(key.behind) - behind else key.last_without
    return key.but(behind=tuple(sorted(behind)), last_without=last)


def copied(key: IssuedKey, evidence: Evidence) -> IssuedKey:
    """The key with what is now known of the copies that readers may get a set without it from.

    What was once seen in a copy counts until it is seen to be missing, or we had to put it there again.
    """
    known, last = set(key.copied), key.last_without
    for copy in evidence.copies:
        if copies_show(copy, key):
            last = max(last, copy.since.get(key.kid, 0.0), last if copy.name in known else evidence.late)
            known.add(copy.name)
        elif copy.seen is not None:
            known.discard(copy.name)
    known &= {copy.name for copy in evidence.copies}
    return key.but(copied=tuple(sorted(known)), last_without=last)


def copies_show(copy: Copy, key: IssuedKey) -> bool:
    """Whether its last answer is known, and had the key."""
    return copy.seen is not None and key.kid in copy.seen and copy.sent_at >= key.published_at


def stopping(key: IssuedKey, evidence: Evidence) -> IssuedKey:
    """The key, no longer held, with what is now known of the pods that may still sign with it.

    The same reasoning: once one replica reports to have dropped it, the Secret without it is written.
    """
    if key.dropped_at is None or key.activated_at is None or key.stopped_at is not None:
        return key
    dropped_at = key.dropped_at
    able = {pod.uid for pod in evidence.pods if not _stopped(pod.report, key.kid, dropped_at)}
    if key.may_sign is None:
        if len(able) == len(evidence.pods):
            return key
        may_sign = able
    else:
        seen = {pod.uid for pod in evidence.pods if _can_sign(pod.report, key.kid, dropped_at)}
        may_sign = (able & set(key.may_sign)) | seen
    return key.but(may_sign=tuple(sorted(may_sign)), stopped_at=None if may_sign else evidence.late)


def lagging(pods: Iterable[Replica], key: IssuedKey) -> tuple[str, ...]:
    """Names of pods that were not seen to both serve and hold the key."""
    return tuple(pod.name for pod in pods if not _serves(pod.report, key) or not _holds(pod.report, key))


def without(pods: Iterable[Replica], kid: str) -> tuple[str, ...]:
    """Names of pods whose last report does not have the key id, for people."""
    return tuple(
        pod.name for pod in pods if pod.report is None or kid not in pod.report.served or kid not in pod.report.held
    )


def _after(report: Report | None, instant: float) -> bool:
    """What was reported earlier may be about a former life of the key, dropped and listed again."""
    return report is not None and report.sent_at >= instant


def _serves(report: Report | None, key: IssuedKey) -> bool:
    return report is not None and key.kid in report.served and _after(report, key.published_at)


def _holds(report: Report | None, key: IssuedKey) -> bool:
    return report is not None and key.held and key.kid in report.held and _after(report, key.held_since)


def _can_sign(report: Report | None, kid: str, since: float) -> bool:
    return report is not None and report.sent_at >= since and (kid in report.held or kid in report.signing.values())


def _stopped(report: Report | None, kid: str, since: float) -> bool:
    """Only a replica that signs with something else has loaded what was written since."""
    return report is not None and report.sent_at >= since and bool(report.signing) and not _can_sign(report, kid, since)
