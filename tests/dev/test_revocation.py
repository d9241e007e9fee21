"""The measurement of revocation: what it calls a wrong grant, and that a folder's trust ends within its budget."""

from __future__ import annotations

import time

import pytest

from tailseal_dev.revocation.__main__ import main, percentile
from tailseal_dev.revocation.load import Load, Seen


class Scripted(Load):
    """One replica that answers by the clock instead of the network."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.seen = [Seen(), Seen()]


def test_the_time_is_that_of_the_last_answer_to_a_request_sent_after_the_change_began() -> None:
    load, began = Scripted(), []

    def change() -> None:
        began.append(now := time.monotonic())
        load.seen[0] = Seen(granted=(now + 0.1, now + 0.3), refused=(now + 5, now + 5))
        load.seen[1] = Seen(granted=(now - 3600, now + 4), refused=(now + 5, now + 5))

    before = time.monotonic()
    seconds = load.withdrawn(change)
    assert seconds + 0.001 >= 0.3
    assert seconds <= 0.301 + began[0] - before


def test_of_twenty_changes_the_slowest_is_the_99th_percentile() -> None:
    values = [float(number) for number in range(1, 21)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values[:1], 0.5)) == (10, 20, 1)


def test_trust_that_is_taken_out_of_a_folder_ends_while_callers_go_on_asking(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--place", "folder", "--changes", "1"])
    table = capsys.readouterr().out
    for what in ("policy deleted", "policy narrowed", "bound narrowed", "UnknownIssuer", "ScopeNotGranted"):
        assert what in table
