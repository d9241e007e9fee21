"""Callers who never stop asking each replica, and what they were still granted after a change."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import httpx

from tailseal_dev.demo.caller import GRANT_TYPE, JWT_TYPE
from tailseal_dev.demo.narrator import until

PAUSE = 0.01
"""Seconds between the answer to a caller and his next request."""
QUIET = 0.6
"""Seconds without any grant by any replica after which a change counts as arrived everywhere."""
_WITHIN = 60.0


@dataclass(slots=True)
class Seen:
    """What one replica answered: asked when, answered when (seconds of a monotonic clock)."""

    granted: tuple[float, float] = (0.0, 0.0)
    refused: tuple[float, float] = (0.0, 0.0)
    answers: Counter[str] = field(default_factory=Counter)


class Load:
    """A thread for each replica, while the context lasts.

    Args:
        replicas: their URLs.
        form: what is asked for, over and over.
        trusted: what their certificates are checked with; None: they speak http.
    """

    def __init__(self, replicas: Sequence[str], form: Mapping[str, str], trusted: ssl.SSLContext | None = None) -> None:
        self._form = {"grant_type": GRANT_TYPE, "subject_token_type": JWT_TYPE, **form}
        self._trusted = trusted
        self._ends = threading.Event()
        self.seen = {url: Seen() for url in replicas}
        self._threads = [threading.Thread(target=self._ask, args=(url,), daemon=True) for url in replicas]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def withdrawn(self, change: Callable[[], None]) -> float:
        """Make a change that takes away what is asked for; seconds from its beginning to the last grant.

        A request that was sent before the change is nobody's fault, however late its answer.
        """
        began = time.monotonic()
        change()
        until(lambda: all(_silent(seen) for seen in self.seen.values()), within=_WITHIN, what="refused everywhere")
        wrong = [seen.granted[1] - began for seen in self.seen.values() if seen.granted[0] >= began]
        return max(wrong, default=0.0)

    def restored(self, change: Callable[[], None]) -> None:
        """Make a change that gives it back, and wait until every replica grants it again."""
        change()
        self.granted()

    def granted(self) -> None:
        """Wait until every replica grants what is asked for, and goes on doing so."""
        began = time.monotonic()
        until(lambda: all(_steady(seen, began) for seen in self.seen.values()), within=_WITHIN, what="granted")

    def _ask(self, url: str) -> None:
        verify = self._trusted if self._trusted is not None else True
        with httpx.Client(verify=verify, timeout=10, trust_env=False) as client:
            while not self._ends.wait(PAUSE):
                self._once(client, url)

    def _once(self, client: httpx.Client, url: str) -> None:
        seen, sent = self.seen[url], time.monotonic()
        try:
            answer = client.post(f"{url}/token", data=self._form)
        except httpx.HTTPError as error:
            seen.answers[type(error).__name__] += 1
            return
        at = (sent, time.monotonic())
        if answer.status_code == httpx.codes.OK:
            seen.granted = at
            seen.answers["granted"] += 1
        else:
            seen.refused = at
            seen.answers[str(answer.json().get("tailseal_reason", answer.status_code))] += 1


def _silent(seen: Seen) -> bool:
    return seen.refused[0] - seen.granted[1] > QUIET


def _steady(seen: Seen, since: float) -> bool:
    return seen.granted[0] > since and seen.granted[0] - seen.refused[1] > QUIET
