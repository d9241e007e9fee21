"""The fleet's counting: a failure is counted where the token was good, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jwt
import pytest

from tailseal_dev.demo.manifests import TOKEN_SECONDS
from tailseal_dev.fleet.traffic import Traffic
from tailseal_dev.fleet.verifiers import UNREACHABLE

TOKEN = jwt.encode({}, "k" * 32, headers={"kid": "first"})


class Always:
    """A verifier with one verdict."""

    def __init__(self, said: str) -> None:
        self.name, self.said = "always", said

    def verdict(self, token: str) -> str:
        del token
        return self.said


def traffic(said: str, answer: Callable[..., Any]) -> Traffic:
    caller: Any = SimpleNamespace(exchange=answer)
    return Traffic(caller, "subject", [Always(said)])


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


def granted(*_: object, **__: object) -> SimpleNamespace:
    return SimpleNamespace(token=TOKEN, status=200, reason="")


@pytest.mark.parametrize(
    ("said", "verified", "unreachable", "failures"),
    [("", True, 0, False), (UNREACHABLE, True, 1, False), ("InvalidKeyError", True, 0, True)],
)
def test_every_verification_is_counted_and_only_a_refusal_is_a_failure(
    said: str, *, verified: bool, unreachable: int, failures: bool
) -> None:
    with traffic(said, granted) as running:
        eventually(lambda: running.tallies["always"].verified > 0)
    tally = running.tallies["always"]
    assert (tally.verified > 0, tally.unreachable >= unreachable, tally.failures > 0) == (verified, True, failures)


def test_tokens_of_a_revoked_key_no_longer_count() -> None:
    running = traffic("InvalidKeyError", granted)
    running.revoked.add("first")
    with running:
        eventually(lambda: running.issued > 3)
    assert running.tallies["always"].verified == 0


def test_what_was_not_issued_is_counted_by_its_reason() -> None:
    running = traffic("", lambda *_, **__: SimpleNamespace(token="", status=503, reason="NoActiveKey"))
    assert running.ask() is None
    assert running.not_issued == {"NoActiveKey": 1}


def test_nobody_relies_on_a_token_about_to_expire() -> None:
    running = traffic("", granted)
    issued = running.ask()
    assert issued is not None
    assert issued.until <= time.time() + TOKEN_SECONDS
    assert running.alive() == []  # it was asked for, but is not part of the traffic
