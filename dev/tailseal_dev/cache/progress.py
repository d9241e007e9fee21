"""What a long build shows on screen: what, how far, how long; one rewritten line on a terminal, few lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

_LOG_EVERY = 15.0
_SHORTEST_NOTICE = 3.0


class Progress:
    """Counts steps of one activity; a ticker of its own shows the time passing even where no step ends.

    Args:
        what: the activity, e.g. `compiling kubernetes`.
        total: how many steps there are, 0 if not known.
        unit: what a step is, e.g. `packages`.
        out: where to write; stderr if not given.
    """

    def __init__(self, what: str, total: int, unit: str, out: TextIO | None = None) -> None:
        self._what, self._total, self._unit, self._out = what, total, unit, out or sys.stderr
        self._started = self._shown = time.monotonic()
        self._done, self._current = 0, ""
        self._finished = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._show(force=True)
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        self._ticker.join()
        if self._out.isatty():
            self._out.write("\n")
        elif kind is None and time.monotonic() - self._started > _SHORTEST_NOTICE:
            self._out.write(f"{self.line()}, done\n")
        self._out.flush()

    def step(self, current: str) -> None:
        """One more step: `current` names what is being worked on."""
        self._done += 1
        self._current = current

    def line(self) -> str:
        """The present state as text."""
        seconds = int(time.monotonic() - self._started)
        count = f"{self._done} of {max(self._total, self._done)}" if self._total else str(self._done)
        return f"{self._what}: {count} {self._unit}, {seconds // 60}:{seconds % 60:02d}"

    def _tick(self) -> None:
        while not self._finished.wait(0.5):
            self._show()

    def _show(self, *, force: bool = False) -> None:
        if self._out.isatty():
            self._out.write(f"\r\x1b[K{f'{self.line()}  {self._current}'[:110]}")
        elif force or time.monotonic() - self._shown > _LOG_EVERY:
            self._shown = time.monotonic()
            self._out.write(f"{self.line()}\n")
        self._out.flush()
