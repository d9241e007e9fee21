"""What each failure of a reconcile means for the next try: one table, from the narrowest error to the widest."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, replace

from tailseal.cluster.errors import ClusterError, Conflict, Forbidden, Gone, Invalid, NotFound, Transient
from tailseal.runtime.queue import Backoff


@dataclass(frozen=True, slots=True)
class Treatment:
    """How long to back off, what to call it in metrics, and how loudly to say it."""

    backoff: Backoff
    result: str
    level: int


_LONGEST_ASKED = 60.0
"""Seconds of Retry-After that are heeded."""

TREATMENTS: dict[type[Exception], Treatment] = {
    # Somebody wrote first: what they wrote is in the store within moments, and we plan from it.
    Conflict: Treatment(Backoff(0.05, 5.0), "conflict", logging.DEBUG),
    Transient: Treatment(Backoff(1.0, 30.0), "transient", logging.WARNING),
    Gone: Treatment(Backoff(1.0, 30.0), "transient", logging.WARNING),
    NotFound: Treatment(Backoff(1.0, 60.0), "not_found", logging.WARNING),
    # A person must act; trying often only fills the audit log.
    Forbidden: Treatment(Backoff(5.0, 300.0), "forbidden", logging.ERROR),
    Invalid: Treatment(Backoff(5.0, 300.0), "invalid", logging.ERROR),
    TimeoutError: Treatment(Backoff(5.0, 60.0), "timeout", logging.WARNING),
    Exception: Treatment(Backoff(5.0, 300.0), "fault", logging.ERROR),
}


def treatment(error: Exception) -> Treatment:
    """What to do about it; a server that asked us to wait is heeded, within reason: a revocation may wait, too."""
    found = next(TREATMENTS[kind] for kind in type(error).__mro__ if kind in TREATMENTS)
    if isinstance(error, ClusterError) and error.retry_after:
        return replace(found, backoff=replace(found.backoff, least=min(error.retry_after, _LONGEST_ASKED)))
    return found


def describe(error: Exception) -> str:
    """What may be logged of it: our own errors speak for themselves, of others only kind and place are safe to tell.

    A foreign error's text may quote what was being parsed, and that may be a key.
    """
    if isinstance(error, ClusterError):
        return f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-4:]]
    return f"{type(error).__name__} at {' < '.join(reversed(places))}"
