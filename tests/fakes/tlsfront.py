"""Ends TLS for a program that answers to plain http on this machine, as a proxy before it would."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tailseal_dev.pki import Authority

_CHUNK = 65_536
_PATIENCE = 60.0


@contextmanager
def running(folder: Path, port: int, behind: int) -> Iterator[Path]:
    """It listens; the certificate of who vouches for it.

    Args:
        folder: for its certificate and key.
        port: of this machine, where it listens.
        behind: of this machine, where everything goes.
    """
    authority = Authority()
    certificate, key = authority.server().write(folder / "tls", "tls")
    (folder / "ca.crt").write_bytes(authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _pipe(reader, writer, behind)

        async with await asyncio.start_server(connected, "127.0.0.1", port, ssl=context):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(_PATIENCE)
    try:
        yield folder / "ca.crt"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_PATIENCE)
        loop.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, behind: int) -> None:
    with contextlib.suppress(OSError):
        inner, outer = await asyncio.open_connection("127.0.0.1", behind)
        await asyncio.wait(
            [asyncio.ensure_future(_copy(reader, outer)), asyncio.ensure_future(_copy(inner, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        outer.close()
    writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while found := await reader.read(_CHUNK):
            writer.write(found)
            await writer.drain()
