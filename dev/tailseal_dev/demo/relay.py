"""Runs in a pod of the demo, by the Python of our image: `relay.py PORT=HOST:PORT…`, loopback ports that lead on.

`kubectl port-forward` ends at a pod's loopback address, where workers never listen: they bind the pod's IP alone.
In the place of HOST:PORT may be the path of a unix socket: the way out of a network namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _dial(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if target.startswith("/"):
        return await asyncio.open_unix_connection(target)
    host, _, port = target.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _lead(port: int, target: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there = await _dial(target)
            await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
            there[1].close()
        writer.close()

    await asyncio.start_server(serve, "127.0.0.1", port)


async def _main(ways: list[str]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    for way in ways:
        port, _, target = way.partition("=")
        await _lead(int(port), target)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
