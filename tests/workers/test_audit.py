"""The audit log: written whole and before the answer, or the caller learns that it was not."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
from collections.abc import Iterator
from typing import Any

import pytest

from tailseal.workers.common.telemetry.audit import LONGEST_LINE, PATIENCE, Audit, AuditError


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_a_line_is_one_json_object(pipe: tuple[int, int]) -> None:
    Audit(pipe[1]).write({"id": "d1", "data": {"scope": "a b", "audience": ("x", "y")}})
    line = os.read(pipe[0], 10_000)
    assert line.endswith(b"\n")
    assert json.loads(line) == {"id": "d1", "data": {"scope": "a b", "audience": ["x", "y"]}}


def test_a_text_with_line_breaks_stays_one_line(pipe: tuple[int, int]) -> None:
    Audit(pipe[1]).write({"subject": 'x\n{"specversion":"1.0","id":"d2"}'})
    assert os.read(pipe[0], 10_000).count(b"\n") == 1


def test_long_texts_and_lists_are_cut(pipe: tuple[int, int]) -> None:
    data = {"audience": ("a" * 100_000,) * 300, "scope": "\0" * 1000}
    Audit(pipe[1]).write({"subject": "s" * 100_000, "data": data})
    line = os.read(pipe[0], 10_000)
    assert len(line) <= LONGEST_LINE
    assert json.loads(line)["subject"].startswith("sss")
    Audit(pipe[1]).write({"audience": ("a", "b")})
    assert json.loads(os.read(pipe[0], 10_000))["audience"] == ["a", "b"]


def test_policies_that_are_tried_out_push_nothing_out_of_what_was_decided(pipe: tuple[int, int]) -> None:
    tried = ["team-b/" + "n" * 200] * 1000
    beside: dict[str, Any] = {
        "wouldAllow": tried,
        "wouldDeny": [{"policy": name, "reason": "ConditionFalse"} for name in tried],
    }
    decided = {"tokenHash": "a" * 64, "policy": "team-a/" + "p" * 100, "claims": ["repository_id", "ref", "sub"]}
    beside |= {"exhausted": ["team-b"] * 50, "malformedRules": ["r" * 256] * 8, "differingClaims": ["c" * 256] * 8}
    Audit(pipe[1]).write({"subject": "repo:" + "s" * 200, "data": decided | beside})
    found = json.loads(os.read(pipe[0], 10_000))
    assert found["subject"] == "repo:" + "s" * 200
    assert {name: found["data"][name] for name in decided} == decided
    assert found["data"]["wouldDeny"][0]["policy"].startswith("team-b/nnn")


def test_what_json_does_not_have_is_an_error(pipe: tuple[int, int]) -> None:
    with pytest.raises(AuditError, match="JSON"):
        Audit(pipe[1]).write({"subject": object()})


def test_what_stays_too_long_is_an_error(pipe: tuple[int, int]) -> None:
    with pytest.raises(AuditError, match="too long"):
        Audit(pipe[1]).write({f"n{number}": "x" * 256 for number in range(100)})


def test_a_log_that_nobody_reads_is_an_error_and_does_not_block(pipe: tuple[int, int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe[1], b"x" * 4096)
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, 0)  # as a container's standard output is
    with pytest.raises(AuditError, match="nobody reads"):
        Audit(pipe[1]).write({"decision": "d1"})


def test_a_reader_that_stopped_is_waited_for_once(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    class Poll:
        ready = False

        def register(self, *_: int) -> None:
            pass

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            asked.append(milliseconds)
            return [(pipe[1], select.POLLOUT)] if self.ready else []

    monkeypatch.setattr(select, "poll", Poll)
    audit = Audit(pipe[1])
    for _ in range(3):
        with pytest.raises(AuditError, match="nobody reads"):
            audit.write({"decision": "d1"})
    Poll.ready = True
    audit.write({"decision": "d2"})
    audit.write({"decision": "d3"})
    patience = PATIENCE * 1000
    assert asked == [patience, 0, 0, 0, patience]


def test_a_reader_that_is_gone_is_an_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(AuditError):
        Audit(pipe[1]).write({"decision": "d1"})


def test_a_closed_descriptor_is_an_error(pipe: tuple[int, int]) -> None:
    audit = Audit(pipe[1])
    os.close(pipe[1])
    with pytest.raises(AuditError):
        audit.write({"decision": "d1"})
