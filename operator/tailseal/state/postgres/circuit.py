"""Keeps callers from waiting, each by himself, for something that has just failed somebody else."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Shut(Exception):  # noqa: N818 - what happened to the caller
    """Not now: it has just failed."""


class Circuit:
    """Open after a failure: for a pause nobody is let through, then one to try, then everybody again.

    Args:
        monotonic: seconds.
        pause: seconds.
    """

    def __init__(self, monotonic: Callable[[], float], pause: float) -> None:
        self._monotonic, self._pause = monotonic, pause
        self._until: float | None = None
        self._trying = False

    @contextmanager
    def passing(self, *answers: type[Exception]) -> Iterator[None]:
        """What is done inside is a failure where it raises, unless the caller himself gave up.

        Args:
            answers: what may be raised as well where nothing has failed.

        Raises:
            Shut: instead of doing it.
        """
        trying = self._until is not None
        if self._until is not None and (self._trying or self._monotonic() < self._until):
            raise Shut
        self._trying = self._trying or trying
        try:
            yield
        except answers:
            self._until = None
            raise
        except CancelledError:
            raise
        except BaseException:
            self._until = self._monotonic() + self._pause
            raise
        else:
            self._until = None
        finally:
            if trying:
                self._trying = False
