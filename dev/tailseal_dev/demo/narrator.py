"""What the demo says: steps, commands that can be typed, what they answered, and a summary of what was expected."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

WIDTH = 118


class Disappointment(Exception):  # noqa: N818 - an expectation that did not hold, after which the story cannot go on
    """The story cannot go on: says what was expected and what happened instead."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of the summary.

    Args:
        what: what was measured or expected.
        value: the figure, or what was seen.
        holds: whether it is as it must be.
    """

    what: str
    value: str
    holds: bool


class Narrator:
    """Prints the story as it happens and remembers the facts.

    Args:
        out: where to print.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self.facts: list[Fact] = []
        self._out = out or sys.stdout
        self._started = time.monotonic()
        self._steps = 0

    @property
    def kept_its_promises(self) -> bool:
        """Whether every expectation held."""
        return all(fact.holds for fact in self.facts)

    def step(self, title: str) -> None:
        """Begin the next chapter."""
        self._steps += 1
        head = f"── {self._steps}. {title} "
        self._print(f"\n{head}{'─' * (WIDTH - len(head) - 9)} {time.monotonic() - self._started:6.1f} s")

    def say(self, text: str) -> None:
        """A sentence or two."""
        self._print(textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False))

    def command(self, text: str) -> None:
        """A command as it can be typed."""
        self._print(f"  $ {text}")

    def output(self, text: str) -> None:
        """What a command answered."""
        for line in text.rstrip().splitlines():
            self._print(f"  {line}")

    def document(self, value: Mapping[str, Any]) -> None:
        """A JSON object, readable."""
        self.output(json.dumps(value, indent=2, ensure_ascii=False))

    def fact(self, what: str, value: str, *, holds: bool = True) -> None:
        """Remember a measured figure or an expectation, and say so if it does not hold."""
        self.facts.append(Fact(what, value, holds))
        if not holds:
            self._print(f"  !! {what}: {value}")

    def expect(self, what: str, *, holds: bool, seen: str) -> None:
        """An expectation without which the story makes no sense.

        Raises:
            Disappointment: it does not hold.
        """
        self.fact(what, seen, holds=holds)
        if not holds:
            raise Disappointment(f"expected: {what}; seen: {seen}")

    def summary(self) -> None:
        """The table at the end."""
        self._print(f"\n── Summary {'─' * (WIDTH - 11)}")
        longest = max((len(fact.what) for fact in self.facts), default=0)
        for fact in self.facts:
            self._print(f"  {'ok  ' if fact.holds else 'FAIL'}  {fact.what:<{longest}}  {fact.value}")
        good = sum(fact.holds for fact in self.facts)
        self._print(f"\n  {good} of {len(self.facts)} as expected, {time.monotonic() - self._started:.0f} s in all")

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def until(condition: Callable[[], Any], *, within: float, what: str, every: float = 0.05) -> float:
    """Wait until a condition holds; how many seconds that took.

    Raises:
        Disappointment: it did not come true in time.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within:
            raise Disappointment(f"{what}: not within {within:.0f} s")
        time.sleep(every)
    return time.monotonic() - started
