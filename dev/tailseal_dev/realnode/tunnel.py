"""A way from this machine to any address of somebody's cluster, by one port-forward to one pod.

`tunnel.py serve PORT` runs in the pod: who connects says in a first line where to. `tunnel.py lead LOCAL FORWARD HOST
PORT` runs here: its loopback port LOCAL leads through the forwarded one to HOST:PORT. Standard library alone, because
the pod has only our image's Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _join(near: _Streams, far: _Streams) -> None:
    await asyncio.gather(_pump(near[0], far[1]), _pump(far[0], near[1]))
    far[1].close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ValueError):
        host, port = (await reader.readline()).decode().split()
        await _join((reader, writer), await asyncio.open_connection(host, int(port)))
    writer.close()


async def _lead(forward: int, target: str, near: _Streams) -> None:
    with contextlib.suppress(OSError):
        far = await asyncio.open_connection("127.0.0.1", forward)
        far[1].write(f"{target}\n".encode())
        await _join(near, far)
    near[1].close()


async def main(what: str, port: str, forward: str = "0", *target: str) -> None:
    """Relay until killed."""

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _lead(int(forward), " ".join(target), (reader, writer))

    server = await asyncio.start_server(_serve if what == "serve" else lead, "127.0.0.1", int(port), backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
