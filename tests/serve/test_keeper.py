"""Keys in a state folder: made once, kept over restarts, rotated by the operator's laws, private to us."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fakes import exchange
from tailseal.domain.bundle.model import SIGNING_FILE
from tailseal.domain.evidence import Replica, Report
from tailseal.domain.rotation import IssuerSpec, LedgerError
from tailseal.domain.rotation.signingkey.ledger import Schedule
from tailseal.domain.rotation.signingkey.plan import Wish
from tailseal.workers.embedded import process
from tailseal.workers.embedded.keeper import Keeper
from tailseal.workers.embedded.state import State, StateError

SCHEDULE = Schedule(algorithm="ES256", rsa_bits=2048, interval=1000, publish_lead=200, max_age=30, clock_skew=10)
SPEC = IssuerSpec(order=("k",), longest_ttl=60, clock_skew=10)


class Bench:
    """A process that serves whatever the keeper gives it, at once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, exchange.NOW
        self.open()

    def open(self) -> None:
        self.state = State(self.folder)
        self.keeper = Keeper(self.state, new_key=process._new_key, token=os.urandom)
        self.signing: dict[str, Any] = {}

    def restart(self) -> None:
        self.state.close()
        self.open()

    def replicas(self) -> Sequence[Replica]:
        if not self.signing:
            return ()
        report = Report(
            sent_at=self.now,
            heard_at=self.now,
            clock=self.now,
            digests={},
            served=frozenset(key["kid"] for key in self.signing["jwks"]["keys"]),
            held=frozenset(key["kid"] for key in self.signing["held"]),
            signing=self.signing.get("active", {}),
        )
        return (Replica("serve", "serve", "serve", ever_ready=True, ready=True, terminating=False, report=report),)

    def turn(self, revoked: frozenset[str] = frozenset(), rotate_after: float | None = None) -> dict[str, Any]:
        wish = Wish(SCHEDULE, rotate_after, revoked)
        for _ in range(3):
            self.now += 0.001  # what is reported is of a moment after it was decided
            kept = self.keeper.step({"k": wish}, exchange.OURS, SPEC, self.replicas(), self.now)
            self.signing = json.loads(kept.files[SIGNING_FILE])
        return self.signing

    @property
    def active(self) -> str:
        return str(self.signing["active"]["ES256"])

    @property
    def published(self) -> set[str]:
        return {key["kid"] for key in self.signing["jwks"]["keys"]}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "state")
    yield made
    made.state.close()


def test_the_first_key_signs_at_once_and_a_spare_is_published(bench: Bench) -> None:
    bench.turn()
    assert bench.active in bench.published
    assert len(bench.published) == 2


def test_keys_survive_a_restart(bench: Bench) -> None:
    bench.turn()
    before = bench.active, bench.published
    bench.restart()
    bench.now += 5
    bench.turn()
    assert (bench.active, bench.published) == before


def test_a_key_is_followed_after_its_interval_and_leaves_when_nothing_needs_it(bench: Bench) -> None:
    bench.turn()
    first = bench.active
    for _ in range(200):
        bench.now += 10
        bench.turn()
        if bench.active != first:
            break
    assert bench.active != first
    assert first in bench.published
    for _ in range(60):
        bench.now += 10
        bench.turn()
    assert first not in bench.published


def test_a_revoked_key_is_out_at_once_and_the_spare_signs(bench: Bench) -> None:
    bench.turn()
    bench.now += 500
    bench.turn()
    first = bench.active
    bench.turn(revoked=frozenset({first}))
    assert first not in bench.published
    assert bench.active in bench.published
    bench.restart()
    bench.turn()  # off the list again: revoked for ever
    assert first not in bench.published


def test_a_request_to_rotate_is_granted_once(bench: Bench) -> None:
    bench.turn()
    first = bench.active
    bench.now += 500
    asked = bench.now - 1
    for _ in range(60):
        bench.now += 10
        bench.turn(rotate_after=asked)
    second = bench.active
    assert second != first
    bench.now += 10
    bench.turn(rotate_after=asked)
    assert bench.active == second


def test_the_state_is_readable_by_us_only(bench: Bench) -> None:
    bench.turn()
    assert stat.S_IMODE(bench.folder.stat().st_mode) == 0o700
    files = [path for path in bench.folder.iterdir() if path.suffix == ".json"]
    assert {path.name for path in files} == {"issuer.json", "signingkey-k.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert (bench.folder / ".gitignore").read_text() == "*\n"


def test_two_processes_never_share_a_state(bench: Bench) -> None:
    with pytest.raises(StateError, match="in use"):
        State(bench.folder)


@pytest.mark.parametrize("name", ["issuer.json", "signingkey-k.json"])
@pytest.mark.parametrize(
    "content", ["", "{", "{}", "[]", '{"ledger.json": "e30="}', '{"ledger.json": 5}', '{"x": "canary!"}']
)
def test_a_damaged_state_is_never_made_anew_and_never_shown(bench: Bench, name: str, content: str) -> None:
    bench.turn()
    bench.restart()
    (bench.folder / name).write_text(content)
    with pytest.raises((StateError, LedgerError)) as caught:
        bench.turn()
    assert "canary" not in str(caught.value)
    assert (bench.folder / name).read_text() == content


def test_nothing_is_written_where_nothing_changed(bench: Bench) -> None:
    bench.turn()
    before = {path: path.stat().st_mtime_ns for path in bench.folder.glob("*.json")}
    bench.turn()
    assert {path: path.stat().st_mtime_ns for path in bench.folder.glob("*.json")} == before
