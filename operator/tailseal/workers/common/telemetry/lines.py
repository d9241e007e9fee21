"""Writes log lines to a descriptor and never waits: where nobody reads, lines are lost and counted."""

from __future__ import annotations

import os
import select
import threading
from typing import Final

ROOM: Final = 4096
"""Bytes that a pipe with any room takes at once (PIPE_BUF)."""


class Lines:
    """A stream of text for loggers, which write whole lines.

    Args:
        fd: where to; 2 is standard error.
    """

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lock = threading.Lock()
        self._torn = False
        self.dropped = 0
        """Lines that were lost, wholly or in part."""

    def write(self, text: str) -> int:
        """Write what there is room for."""
        with self._lock:
            whole = self._put(text.encode("utf-8", "backslashreplace"))
            self.dropped += not whole
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def _put(self, line: bytes) -> bool:
        """Whether all of it was written; what follows a part begins a line of its own."""
        rest = memoryview(b"\n" + line if self._torn else line)
        while rest:
            written = self._some(rest[:ROOM])
            if not written:
                return False
            rest = rest[written:]
            self._torn = bool(rest)
        return True

    def _some(self, piece: memoryview) -> int:
        """How much of it was written, without waiting."""
        try:
            return os.write(self._fd, piece) if self._poll.poll(0) else 0
        except OSError:
            return 0


STANDARD_ERROR: Final = Lines()
"""Where the application log goes."""
