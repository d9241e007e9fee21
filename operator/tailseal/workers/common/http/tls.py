"""TLS for a listener from a mounted folder, with the certificate of now: renewed ones count without a restart."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

CERTIFICATE: Final = "tls.crt"
PRIVATE_KEY: Final = "tls.key"
INTERVAL: Final = 1.0
"""Seconds between two looks at the folder."""


class TLSError(Exception):
    """The folder holds no certificate and key that belong together."""


class Certificates:
    """A server context whose certificate follows a folder.

    Handshakes are answered with the newest pair that loaded; connections that are open stay as they are.

    Args:
        folder: holds `tls.crt` (chain) and `tls.key`, as a Secret of type `kubernetes.io/tls` does.
        refused: told why a changed pair is not used; the former one is.

    Raises:
        TLSError: there is no usable pair to begin with.
    """

    def __init__(self, folder: Path, *, refused: Callable[[TLSError], None] = lambda _: None) -> None:
        self._folder, self._refused = folder, refused
        self._mark: object = self._facts()
        self._told: object = None
        self._current = _context(folder)
        self.context = _context(folder)
        self.context.sni_callback = self._choose

    def refresh(self) -> bool:
        """Load the pair if its files changed; whether a new one is in use."""
        mark = self._facts()
        if mark == self._mark:
            return False
        try:
            self._current = _context(self._folder)
        except TLSError as error:
            if mark != self._told:  # tried again at each look, since a swap may have come between the two files
                self._refused(error)
            self._told = mark
            return False
        self._mark = mark
        return True

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.refresh()

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current  # called in each handshake, with or without a server name

    def _facts(self) -> tuple[object, ...]:
        return tuple(_fact((self._folder / name).resolve()) for name in (CERTIFICATE, PRIVATE_KEY))


def _fact(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), found.st_mtime_ns, found.st_size


def _context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain((folder / CERTIFICATE).resolve(), (folder / PRIVATE_KEY).resolve())
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unreadable"
        raise TLSError(f"{folder}: {CERTIFICATE} and {PRIVATE_KEY} of one pair are needed: {reason}") from None
    return context
