"""The whole story of a tailnet with an identity provider in it, by real nodes: `make tailnet` prints the same table."""

from __future__ import annotations

import io

import pytest

from tailseal_dev.cache import BuildError
from tailseal_dev.tailnet import TailnetError, why_not
from tailseal_dev.tailnet.story import __main__ as story
from tailseal_dev.tailnet.story import table as tables
from tailseal_dev.tailnet.story.table import Table


@pytest.mark.tailnet
def test_nobody_is_taken_for_another_and_what_is_withdrawn_is_gone() -> None:
    if reason := why_not():
        pytest.skip(reason)
    told = Table()
    try:
        story.tell(told)
    except BuildError as error:
        pytest.fail(f"headscale and tailscaled are needed and could not be built: {error}", pytrace=False)
    tried = [row for row in told.rows if not row.left_out]
    assert [(row.step, row.expected, row.seen) for row in tried if not row.holds] == []
    assert len(tried) > 25
    if len(told.rows) > len(tried):
        pytest.skip("; ".join(f"{row.step}: {row.expected}" for row in told.rows if row.left_out))


def test_a_table_fails_where_a_row_does_and_says_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PATIENCE", 0.0)
    out = io.StringIO()
    told = Table(out)
    assert not told.holds, "nothing was shown"
    told.left_out("none", "there is none here")
    assert not told.holds, "all was left out"
    told.once("one", "1", lambda: "1")
    assert told.holds

    def fails() -> str:
        raise TailnetError("no answer")

    told.soon("two", "2", fails)
    assert not told.holds
    told.end()
    assert "TailnetError: no answer" in out.getvalue()
    assert "1 of 2 as expected, 1 left out" in out.getvalue()
    assert "there is none here" in out.getvalue()


def test_what_takes_its_time_is_waited_for() -> None:
    answers = iter("112")
    told = Table(io.StringIO())
    told.soon("two", "2", lambda: next(answers))
    assert told.holds
