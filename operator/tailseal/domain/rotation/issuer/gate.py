"""Law 1: whether a key may become a signer, as a chain of checks of which the first that fails is the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tailseal.domain.evidence import Replica, listed
from tailseal.domain.rotation.issuer.evidence import FRESH, MAX_SKEW, Evidence, copies_show, lagging
from tailseal.domain.rotation.issuer.ledger import IssuedKey

WAITING = "Waiting"
"""The reason that is no obstacle: only time has to pass."""


@dataclass(frozen=True, slots=True)
class Shut:
    """Why a key may not sign yet; the message names who is in the way."""

    reason: str
    message: str


def shut(key: IssuedKey, evidence: Evidence) -> Shut | None:
    """The first reason against it; None if it may sign."""
    reasons = (check(key, evidence) for check in _CHECKS)
    return next((reason for reason in reasons if reason is not None), None)


def _some_replica(_: IssuedKey, evidence: Evidence) -> Shut | None:
    if evidence.counted:
        return None
    return Shut("NoReplicas", "no replica was ever Ready, so nothing is known of what is served")


def _all_heard(_: IssuedKey, evidence: Evidence) -> Shut | None:
    pods = tuple(pod.name for pod in evidence.counted if pod.report is None)
    return Shut("ReplicaUnreachable", "waiting for the first report of " + listed(pods)) if pods else None


def _all_serve_and_hold(key: IssuedKey, evidence: Evidence) -> Shut | None:
    pods = lagging(evidence.counted, key)
    return Shut("ReplicaBehind", "waiting until it is served and held by " + listed(pods)) if pods else None


def _all_copies_show(key: IssuedKey, evidence: Evidence) -> Shut | None:
    if unknown := tuple(copy.name for copy in evidence.copies if copy.seen is None):
        text = "what is read from publish target " + listed(unknown) + " is not known"
        return Shut("CopyUnreachable", text)
    names = tuple(copy.name for copy in evidence.copies if not copies_show(copy, key))
    return Shut("CopyBehind", "waiting until it is read from publish target " + listed(names)) if names else None


def _uncached(key: IssuedKey, evidence: Evidence) -> bool:
    """Whether no cache holds a set without it, of whatever age."""
    return key.first_set and all(copy.fresh for copy in evidence.copies)


def _time_is_known(key: IssuedKey, evidence: Evidence) -> Shut | None:
    if _uncached(key, evidence) or evidence.early is not None:
        return None
    if pods := tuple(pod.name for pod in evidence.counted if _difference(pod) > MAX_SKEW):
        return _clock_skew(pods)
    return Shut("ReplicaUnreachable", f"no replica answered for {FRESH:.0f} s, so none confirms our clock")


def _caches_expired(key: IssuedKey, evidence: Evidence) -> Shut | None:
    """No cache holds a set without a key of the first set ever published."""
    due = key.last_without + key.wait
    if _uncached(key, evidence) or evidence.early is None or evidence.early >= due:
        return None
    if evidence.now >= due + FRESH:
        worst = max(map(_difference, evidence.counted))
        return _clock_skew(tuple(pod.name for pod in evidence.counted if _difference(pod) == worst))
    return Shut(WAITING, "verifiers may still hold a set without it")


_CHECKS: tuple[Callable[[IssuedKey, Evidence], Shut | None], ...] = (
    _some_replica,
    _all_heard,
    _all_serve_and_hold,
    _all_copies_show,
    _time_is_known,
    _caches_expired,
)


def _clock_skew(pods: tuple[str, ...]) -> Shut:
    return Shut("ClockSkew", "our clock differs from that of " + listed(pods))


def _difference(pod: Replica) -> float:
    return abs(pod.report.clock - pod.report.heard_at) if pod.report else 0.0
