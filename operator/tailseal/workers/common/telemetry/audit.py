"""One JSON line per decision on standard output, written before the caller is answered; if it cannot be, no grant."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from typing import Final

import orjson

LONGEST_LINE: Final = 4096
"""Bytes that a pipe takes at once (PIPE_BUF): such a line is never torn and never blocks where there is room."""

PATIENCE: Final = 0.05
"""Seconds to wait for room in the pipe; a reader that slow must not stop the event loop."""

_CUTS: Final = ((256, 8), (48, 2))
"""Characters of a text and members of a list that are kept; the second where the first makes too long a line."""

_BESIDE: Final = frozenset({"wouldAllow", "wouldDeny", "exhausted", "malformedRules", "differingClaims"})
"""Members that tenants and policy files make long whoever is granted what: cut before anything that was decided."""

_CUT_BESIDE: Final = (64, 2)


class AuditError(Exception):
    """The line could not be written: the decision must not become an answer that grants."""


class Audit:
    """Writes audit lines to a file descriptor.

    Args:
        fd: where to; 1 is standard output.
    """

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._stuck = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, event: Mapping[str, object]) -> None:
        """Write one event; long texts are cut. Give it identifiers and reasons, never a token, key or secret.

        Raises:
            AuditError: nobody reads, the line is too long, or the descriptor is closed.
        """
        line = _line(event)
        if not self._writable():
            raise AuditError("nobody reads the audit log")
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise AuditError("the audit log cannot be written") from error
        if written != len(line):
            raise AuditError("the audit log took only a part of the line")

    def _writable(self) -> bool:
        """Whether there is room; a reader that was waited for in vain once is not waited for again until he reads."""
        events = self._poll.poll(0 if self._stuck else PATIENCE * 1000)
        self._stuck = not events
        return bool(events) and not events[0][1] & (select.POLLERR | select.POLLNVAL | select.POLLHUP)


def _line(event: Mapping[str, object]) -> bytes:
    """The line, with long texts and lists cut as far as it takes."""
    try:
        line = _dumps(event)
        if len(line) > LONGEST_LINE:
            event = _without_much_beside(event)
            line = _dumps(event)
        for longest, most in _CUTS:
            if len(line) <= LONGEST_LINE:
                return line
            line = _dumps(_short(event, longest, most))
    except orjson.JSONEncodeError as error:
        raise AuditError("the audit line holds what JSON does not have") from error
    if len(line) > LONGEST_LINE:
        raise AuditError("audit line too long")
    return line


def _without_much_beside(event: Mapping[str, object]) -> Mapping[str, object]:
    data = event.get("data")
    if not isinstance(data, dict):
        return event
    beside = {name: _short(data[name], *_CUT_BESIDE) for name in _BESIDE.intersection(data)}
    return {**event, "data": data | beside}


def _dumps(event: object) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


def _short(value: object, longest: int, most: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= longest else value[:longest] + "…"
    if isinstance(value, tuple | list):
        return [_short(entry, longest, most) for entry in value[:most]] + (["…"] if len(value) > most else [])
    if isinstance(value, dict):
        return {name: _short(entry, longest, most) for name, entry in value.items()}
    return value
