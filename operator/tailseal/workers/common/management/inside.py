"""A unix socket inside the pod for those who may run a command there: one line of JSON in, one document out.

It is no port: no network leads here, and the file's mode lets nobody in but who runs as the worker does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

LONGEST_QUESTION: Final = 4096
_SECONDS: Final = 10.0
_AT_ONCE: Final = 2
"""Answers in the making: a policy's owner must not slow down the exchange by asking in a loop."""

_log = structlog.get_logger(__name__)


async def serve(path: Path, answer: Callable[[bytes], bytes]) -> None:
    """Answer until cancelled; where the socket cannot be made, say so and do without.

    Args:
        path: of the socket; a former one is replaced.
        answer: called in a thread with the question's line.
    """
    try:
        bound = _bind(path)
    except OSError as error:
        _log.warning("no socket for explanations", path=str(path), why=error.strerror or type(error).__name__)
        return
    turns = asyncio.Semaphore(_AT_ONCE)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_SECONDS):
                question = await reader.readline()
                async with turns:
                    writer.write(await asyncio.to_thread(answer, question) + b"\n")
                await writer.drain()
        writer.close()

    try:
        async with await asyncio.start_unix_server(talk, sock=bound, limit=LONGEST_QUESTION) as server:
            await server.serve_forever()
    finally:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - one call, at the end


def _bind(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(str(path))
        path.chmod(0o600)  # before anybody can connect: it does not listen yet
    except OSError:
        made.close()
        raise
    return made
