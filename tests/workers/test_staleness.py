"""What a replica that may be behind still does, and how it learns of it."""

from __future__ import annotations

import pytest

from fakes import bundles, exchange
from tailseal.domain import poll
from tailseal.domain.bundle.model import VERSION
from tailseal.domain.bundle.model import Staleness as Limits
from tailseal.workers.common.bundle.loader import Loader
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.management.staleness import Staleness, Withheld
from tailseal.workers.common.management.status import Status

LIMITS = Limits(behind=120, unheard=3600)


class Bench:
    def __init__(self, *, expected: bool = True) -> None:
        self.now = exchange.NOW
        settings = exchange.SETTINGS.model_copy(update={"staleness": LIMITS})
        self.source = bundles.source(None, bundles.policies(exchange.record(), settings=settings))
        self.settings = settings
        self.staleness = Staleness(self.clock, expected=expected)
        self.loader = Loader(self.source, clock=self.clock, swapped=self.staleness.compare)
        self.status = Status("uid-1", lambda: self.loader.snapshot, self.staleness, self.clock)
        self.loader.refresh()

    def clock(self) -> float:
        return self.now

    @property
    def snapshot(self) -> Snapshot:
        assert self.loader.snapshot
        return self.loader.snapshot

    def ask(self, wanted: dict[str, str] | None = None, *, time: float | None = None) -> poll.Answer:
        question = poll.Question("n", self.now if time is None else time, self.snapshot.digests | (wanted or {}))
        body = self.status.answer(poll.seal_question(question, bundles.POLL_KEY))
        assert body
        return poll.open_answer(body, bundles.POLL_KEY, nonce="n", pod_uid="uid-1")

    @property
    def withheld(self) -> Withheld | None:
        return self.staleness.withheld(self.loader.snapshot)


def test_the_answer_says_what_is_loaded_served_and_signed_with() -> None:
    bench = Bench()
    bench.source.put("signing", bundles.signing("k1", "k2"))
    bench.loader.refresh()
    answer = bench.ask()
    assert answer.digests == bench.snapshot.digests
    assert (set(answer.served), set(answer.held), answer.signing) == ({"k1", "k2"}, {"k1", "k2"}, {"ES256": "k1"})
    assert (answer.clock, answer.problems) == (bench.now, ())


def test_a_signer_past_its_lease_is_not_reported_as_signing() -> None:
    bench = Bench()
    bench.now += 86_401
    assert bench.ask().signing == {}


def test_problems_are_reported_as_words() -> None:
    bench = Bench()
    bench.source.put("signing", {})
    bench.loader.refresh()
    assert bench.ask().problems == ("SigningMissing",)


def test_a_question_of_somebody_else_is_refused_and_changes_nothing() -> None:
    bench = Bench()
    question = poll.Question("n", bench.now, {"policies": "sha256:other"})
    with pytest.raises(poll.PollError):
        bench.status.answer(poll.seal_question(question, b"x" * 32))
    bench.now += 1000
    assert bench.withheld is None


def test_before_the_first_bundle_nothing_is_answered_or_granted() -> None:
    staleness = Staleness(lambda: 0.0)
    assert Status("u", lambda: None, staleness, lambda: 0.0).answer(b"") is None
    assert staleness.withheld(None) is Withheld.NO_BUNDLE


def test_who_knows_to_be_behind_for_too_long_stops_granting_until_caught_up() -> None:
    bench = Bench()
    wanted = bundles.policies(settings=bench.settings)
    bench.ask({"policies": "sha256:newer"})
    bench.now += LIMITS.behind
    assert bench.withheld is None
    bench.now += 1
    assert bench.withheld is Withheld.BEHIND
    bench.source.put("policies", wanted)
    bench.loader.refresh()
    assert bench.withheld is Withheld.BEHIND  # not the wanted one either
    bench.ask()
    assert bench.withheld is None


def test_loading_the_wanted_bundle_ends_being_behind_without_another_poll() -> None:
    bench = Bench()
    wanted = bundles.policies(settings=bench.settings)
    ahead = Bench()
    ahead.source.put("policies", wanted)
    ahead.loader.refresh()
    bench.ask({"policies": ahead.snapshot.digests["policies"]})
    bench.now += LIMITS.behind + 1
    bench.source.put("policies", wanted)
    bench.loader.refresh()
    assert bench.withheld is None


def test_a_broken_shard_is_no_reason_to_stop_the_others() -> None:
    bench = Bench()
    first, second = bundles.apart(2)
    files = bundles.policies(first, second, settings=bench.settings)
    whole = Bench()
    whole.source.put("policies", files)
    whole.loader.refresh()
    bench.source.put("policies", files | {bundles.shard_name(first): b"broken"})
    bench.loader.refresh()
    answer = bench.ask({"policies": whole.snapshot.digests["policies"]})
    assert answer.digests["policies"] != whole.snapshot.digests["policies"]  # the operator sees that it is not whole
    bench.now += LIMITS.behind + 1
    bench.ask({"policies": whole.snapshot.digests["policies"]})
    assert bench.withheld is None


def test_who_hears_nothing_for_too_long_stops_granting() -> None:
    bench = Bench()
    bench.now += LIMITS.unheard
    assert bench.withheld is None
    bench.now += 1
    assert bench.withheld is Withheld.UNHEARD
    bench.ask()
    assert bench.withheld is None
    bench.now += LIMITS.unheard + 1
    assert bench.withheld is Withheld.UNHEARD


def test_a_replayed_question_neither_keeps_us_awake_nor_makes_us_behind() -> None:
    bench = Bench()
    asked = bench.now
    bench.ask()
    bench.now += 200
    bench.ask({"policies": "sha256:old"}, time=asked - 1)
    bench.now += LIMITS.unheard - 200 + 1
    assert bench.withheld is Withheld.UNHEARD


def test_where_no_operator_is_expected_silence_means_nothing() -> None:
    bench = Bench(expected=False)
    bench.now += 10 * LIMITS.unheard
    assert bench.withheld is None


@pytest.mark.parametrize("off", [-301.0, 301.0])
def test_a_question_from_another_time_is_told_our_clock_and_what_we_read_and_nothing_else(off: float) -> None:
    bench = Bench()
    heard = bench.staleness.heard_at
    answer = bench.ask({"policies": "sha256:other"}, time=bench.now + off)
    assert answer == poll.Answer("n", "uid-1", bench.now, {}, (), (), {}, ("ClockSkew",), reads=VERSION)
    assert answer.mute
    assert answer.report(sent_at=0, heard_at=0).reads == VERSION, "one clock that is off makes nobody a former release"
    assert bench.staleness.heard_at == heard
    bench.now += 130
    assert bench.withheld is None, "a replay must not make anybody believe to be behind"
