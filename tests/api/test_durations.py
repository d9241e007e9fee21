"""Durations and times, as manifests write them and code counts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.api.durations import format_duration, parse_duration
from tailseal.api.signingkey import Rotation
from tailseal.api.times import format_time, parse_time


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("90s", 90), ("5m", 300), ("720h", 2_592_000)])
def test_a_duration_reads_as_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5d", "1h30m", "-5m", "5 m", "5m\n", "\u0665m", "1.5h", "9999999999s"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59, "59s"), (60, "1m"), (5400, "90m"), (86_400, "24h")])
def test_a_duration_is_written_in_its_largest_exact_unit(seconds: int, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=99_999))
def test_what_is_written_reads_the_same(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_code_may_say_seconds_and_a_document_says_text() -> None:
    rotation = Rotation(interval=7200, publish_lead=60)
    assert rotation.document() == {"interval": "2h", "publishLead": "1m"}


def test_a_time_is_written_in_utc_and_whole_seconds() -> None:
    assert format_time(1_797_760_800.9) == "2026-12-20T10:00:00Z"


@pytest.mark.parametrize(
    "text", ["2026-12-20T10:00:00Z", "2026-12-20T11:00:00+01:00", "2026-12-20T10:00:00.000000000Z"]
)
def test_a_time_reads_as_unix_seconds(text: str) -> None:
    assert parse_time(text) == 1_797_760_800


@pytest.mark.parametrize("text", ["2026-12-20", "2026-12-20T10:00:00", "soon"])
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"offset|isoformat"):
        parse_time(text)
