"""Runs in a tailnet's namespace: `connections.py PORT PROXY HOST COUNT` opens that many connections and keeps them.

They go through a node's proxy to the other node HOST, whose tailscaled forwards them to our own listener at PORT. One
line each says the port that tailscaled connected from: what whois knows a connection by.
"""

from __future__ import annotations

import asyncio
import sys


async def _main(port: int, proxy: int, host: str, count: int) -> None:
    def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        print(writer.get_extra_info("peername")[1], flush=True)
        kept.append(writer)

    kept: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(accepted, "127.0.0.1", port)
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        kept.append(writer)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
