"""Keeps asking for tokens and has every verifier verify all that are alive, over and over; counts what fails."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import httpx

from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import Caller, kid_of
from tailseal_dev.fleet.verifiers import UNREACHABLE, Verifier

_ISSUE_EVERY, _VERIFY_EVERY = 0.25, 0.2
_SAMPLE = 4
"""Tokens that were verified before and are picked again in each round, beside all new ones."""
_MARGIN = 1.5
"""Seconds before a token expires from which on nobody relies on it."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token and until when it is alive, by this machine's clock."""

    token: str
    kid: str
    until: float


@dataclass(slots=True)
class Tally:
    """What one verifier saw: verifications, failures by name, and times it could not fetch."""

    verified: int = 0
    unreachable: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def failures(self) -> int:
        """Tokens that should have verified and did not."""
        return self.failed.total()


class Traffic:
    """Runs in threads while the context lasts.

    Args:
        caller: asks for tokens.
        subject_token: is granted one each time.
        verifiers: each in a thread of its own.
    """

    def __init__(self, caller: Caller, subject_token: str, verifiers: Sequence[Verifier]) -> None:
        self.tallies = {verifier.name: Tally() for verifier in verifiers}
        self.issued = 0
        self.not_issued: Counter[str] = Counter()
        self.revoked: set[str] = set()
        """Key ids that an emergency took away: law 6 breaks their tokens on purpose, so they no longer count."""
        self._caller, self._subject_token = caller, subject_token
        self._alive: list[Issued] = []
        self._ends = threading.Event()
        runs: list[Callable[[], None]] = [self._issue, *(partial(self._verify, verifier) for verifier in verifiers)]
        self._threads = [threading.Thread(target=run, daemon=True) for run in runs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(timeout=10)

    @property
    def signer(self) -> str:
        """Id of the key that signed the youngest token; empty before the first."""
        alive = self._alive
        return alive[-1].kid if alive else ""

    def alive(self) -> list[Issued]:
        """Tokens on which somebody may rely now."""
        horizon = time.time() + _MARGIN
        return [issued for issued in self._alive if issued.until > horizon and issued.kid not in self.revoked]

    def ask(self) -> Issued | None:
        """One more token, if there is one to be had."""
        try:
            answer = self._caller.exchange(self._subject_token, audience=manifests.AUDIENCE, scope=manifests.SCOPE)
        except httpx.HTTPError as error:
            self.not_issued[type(error).__name__] += 1
            return None
        if not answer.token:
            self.not_issued[answer.reason or str(answer.status)] += 1
            return None
        self.issued += 1
        return Issued(answer.token, kid_of(answer.token), time.time() + manifests.TOKEN_SECONDS)

    def _issue(self) -> None:
        while not self._ends.wait(_ISSUE_EVERY):
            if issued := self.ask():
                self._alive = [*self.alive(), issued]

    def _verify(self, verifier: Verifier) -> None:
        known: set[str] = set()
        while not self._ends.wait(_VERIFY_EVERY):
            alive = self.alive()
            fresh = [issued for issued in alive if issued.token not in known]
            known = {issued.token for issued in alive}
            for issued in [*fresh, *random.sample(alive, min(_SAMPLE, len(alive)))]:
                self._judge(verifier, issued)

    def _judge(self, verifier: Verifier, issued: Issued) -> None:
        verdict = verifier.verdict(issued.token)
        tally = self.tallies[verifier.name]
        if issued.kid in self.revoked or issued.until < time.time() + _MARGIN / 2:
            return
        tally.verified += 1
        if verdict == UNREACHABLE:
            tally.unreachable += 1
        elif verdict:
            tally.failed[f"{verdict} for key {issued.kid[:8]}"] += 1
