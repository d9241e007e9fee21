"""A pipe as a container's log is one: it blocks who writes while it is full."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Self

_PAGE = 4096


class Pipe:
    """Two ends, closed at the end."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self.reader, self.writer):
            with contextlib.suppress(OSError):
                os.close(end)

    def fill(self, room: int = 0) -> None:
        """Write until there is no room, but for some pages."""
        os.set_blocking(self.writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writer, b"x" * _PAGE)
        os.set_blocking(self.writer, True)
        if room:
            os.read(self.reader, room * _PAGE)

    def read(self) -> bytes:
        """All that is in it."""
        found = b""
        size = fcntl.fcntl(self.reader, fcntl.F_GETPIPE_SZ)
        os.set_blocking(self.reader, False)
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self.reader, size):
                found += more
        os.set_blocking(self.reader, True)
        return found
