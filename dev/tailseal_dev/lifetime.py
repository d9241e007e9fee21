"""Things made of many processes and files, which are all gone in the end, also where they did not all come up."""

from __future__ import annotations

import abc
import contextlib
from types import TracebackType
from typing import Self


class Lifetime(abc.ABC):
    """What `_up` starts is up inside `with`; what has to be ended of it, it puts on `_stack` at once."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    @abc.abstractmethod
    def _up(self) -> None:
        """Start all of it."""

    def __enter__(self) -> Self:
        try:
            self._up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
