"""Callers who never stop asking each replica, and what they were still given after a change."""

from __future__ import annotations

import itertools
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import httpx
import jwt

from tailseal_dev.demo.caller import GRANT_TYPE, JWT_TYPE
from tailseal_dev.demo.narrator import until

PAUSE = 0.01
"""Seconds between the answer to a caller and his next request."""
QUIET = 0.6
"""Seconds without any grant by any replica after which a change counts as arrived everywhere."""
_WITHIN = 60.0


@dataclass(slots=True)
class Seen:
    """What one replica answered to one question: asked when, answered when (seconds of a monotonic clock)."""

    granted: tuple[float, float] = (0.0, 0.0)
    refused: tuple[float, float] = (0.0, 0.0)
    answers: Counter[str] = field(default_factory=Counter)


Ask = Callable[[httpx.Client, str], str]
"""Asks the replica at a URL for something; empty if it was given, else what is to be said of the answer."""


def exchange(form: Mapping[str, str], kid: Callable[[], str] = str) -> Ask:
    """Asks for a token.

    Args:
        form: what is asked for.
        kid: the key that is asked about: a token that another one signed counts as refused; empty: any will do.
    """
    full = {"grant_type": GRANT_TYPE, "subject_token_type": JWT_TYPE, **form}

    def ask(client: httpx.Client, url: str) -> str:
        answer = client.post(f"{url}/token", data=full)
        if answer.status_code != httpx.codes.OK:
            return str(answer.json().get("tailseal_reason", answer.status_code))
        signer = jwt.get_unverified_header(answer.json()["access_token"])["kid"] if kid() else ""
        return "" if signer == kid() else "signed by another key"

    return ask


def key_set(kid: Callable[[], str]) -> Ask:
    """Asks for the key set, and looks for a key in it."""

    def ask(client: httpx.Client, url: str) -> str:
        keys = client.get(f"{url}/.well-known/jwks.json").json()["keys"]
        return "" if kid() in {key["kid"] for key in keys} else "published without the key"

    return ask


class Load:
    """A thread for each replica and thing to ask for, while the context lasts.

    Args:
        replicas: their URLs.
        asks: what is asked of each, over and over.
        trusted: what their certificates are checked with; None: they speak http.
    """

    def __init__(self, replicas: Sequence[str], asks: Sequence[Ask], trusted: ssl.SSLContext | None = None) -> None:
        self._trusted = trusted
        self._asked = list(itertools.product(replicas, asks))
        self.seen = [Seen() for _ in self._asked]

    def __enter__(self) -> Self:
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(*asked, seen), daemon=True)
            for asked, seen in zip(self._asked, self.seen, strict=True)
        ]
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
        until(lambda: all(_silent(seen) for seen in self.seen), within=_WITHIN, what="refused everywhere")
        wrong = [seen.granted[1] - began for seen in self.seen if seen.granted[0] >= began]
        return max(wrong, default=0.0)

    def restored(self, change: Callable[[], None]) -> None:
        """Make a change that gives it back, and wait until every replica grants it again."""
        change()
        self.granted()

    def granted(self) -> None:
        """Wait until every replica grants what is asked for, and goes on doing so."""
        began = time.monotonic()
        until(lambda: all(_steady(seen, began) for seen in self.seen), within=_WITHIN, what="granted")

    def _ask(self, url: str, ask: Ask, seen: Seen) -> None:
        verify = self._trusted if self._trusted is not None else True
        with httpx.Client(verify=verify, timeout=10, trust_env=False) as client:
            while not self._ends.wait(PAUSE):
                _once(client, url, ask, seen)


def _once(client: httpx.Client, url: str, ask: Ask, seen: Seen) -> None:
    sent = time.monotonic()
    try:
        refused = ask(client, url)
    except httpx.HTTPError as error:
        seen.answers[type(error).__name__] += 1
        return
    at = (sent, time.monotonic())
    seen.answers[refused or "granted"] += 1
    if refused:
        seen.refused = at
    else:
        seen.granted = at


def _silent(seen: Seen) -> bool:
    return seen.refused[0] - seen.granted[1] > QUIET


def _steady(seen: Seen, since: float) -> bool:
    return seen.granted[0] > since and seen.granted[0] - seen.refused[1] > QUIET
