"""The application log's stream: it never waits, loses whole lines only, and says how many."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from fakes.pipes import Pipe
from tailseal.workers.common.telemetry import lines, logs
from tailseal.workers.common.telemetry.lines import Lines
from tailseal.workers.common.telemetry.metrics import Metrics


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with Pipe() as made:
        yield made


def test_lines_come_out_as_they_went_in(pipe: Pipe) -> None:
    stream = Lines(pipe.writer)
    stream.write("one\n")
    stream.write("t\u00fcwo \udc80\n")
    stream.flush()
    assert pipe.read() == "one\ntüwo \\udc80\n".encode()
    assert stream.dropped == 0


def test_where_nobody_reads_lines_are_dropped_and_counted_until_somebody_does(pipe: Pipe) -> None:
    stream = Lines(pipe.writer)
    pipe.fill()
    for _ in range(3):
        stream.write("lost\n")
    assert stream.dropped == 3
    pipe.read()
    stream.write("found\n")
    assert (pipe.read(), stream.dropped) == (b"found\n", 3)


def test_after_a_torn_line_the_next_one_stands_by_itself(pipe: Pipe) -> None:
    stream = Lines(pipe.writer)
    pipe.fill(room=1)
    stream.write("a" * 3 * lines.ROOM + "\n")
    assert stream.dropped == 1
    pipe.read()
    stream.write("whole\n")
    stream.write("again\n")
    assert (pipe.read(), stream.dropped) == (b"\nwhole\nagain\n", 1)


def test_a_reader_that_is_gone_costs_lines_and_nothing_else(pipe: Pipe) -> None:
    stream = Lines(pipe.writer)
    os.close(pipe.reader)
    stream.write("lost\n")
    assert stream.dropped == 1


def test_loggers_of_both_kinds_end_there_and_the_loss_is_a_metric(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Lines(pipe.writer)
    monkeypatch.setattr("tailseal.workers.common.telemetry.metrics.STANDARD_ERROR", stream)
    metrics, root = Metrics(), logging.getLogger()
    before = (list(root.handlers), root.level)
    try:
        logs.configure("info", stream)
        structlog.get_logger("x").info("mine")
        logging.getLogger("y").warning("theirs")
        assert [part in pipe.read() for part in (b'"mine"',)] == [True]
        pipe.fill()
        structlog.get_logger("x").info("lost")
        logging.getLogger("y").warning("lost")
    finally:
        root.handlers[:], root.level = before
        structlog.reset_defaults()
    assert b"tailseal_log_lines_dropped_total 2.0" in metrics.render()
