"""Which ports of an address take a connection, asked through a node's SOCKS proxy: run by path, on that node.

`python knock.py PROXY ADDRESS PORTS…`: the proxy's port on loopback, and ports or ranges such as `1-65535`. It prints
those that are open. No port is given up because an answer is late: then it is asked again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
import sys
from collections.abc import Iterator

_AT_ONCE = 100
_PATIENCE = 20.0
_TIMES = 3


def ports(words: list[str]) -> Iterator[int]:
    """Each port of single ones and of ranges."""
    for word in words:
        first, _, last = word.partition("-")
        yield from range(int(first), int(last or first) + 1)


async def is_open(proxy: int, address: str, port: int) -> bool:
    """Whether somebody takes the connection (RFC 1928: CONNECT without authentication)."""
    for _ in range(_TIMES):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
        try:
            packed = ipaddress.ip_address(address).packed
            kind = b"\x01" if len(packed) == 4 else b"\x04"
            writer.write(b"\x05\x01\x00" + b"\x05\x01\x00" + kind + packed + struct.pack(">H", port))
            async with asyncio.timeout(_PATIENCE):
                answer = await reader.readexactly(4)
            return answer[3] == 0
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            continue
        finally:
            writer.close()
    raise SystemExit(f"no answer about port {port}")


async def main(proxy: int, address: str, wanted: Iterator[int]) -> None:
    """Ask about all ports, many at a time."""
    found: list[int] = []

    async def work() -> None:
        for port in wanted:
            if await is_open(proxy, address, port):
                found.append(port)  # noqa: PERF401 - several at once take from one iterator

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())
    sys.stdout.write(" ".join(map(str, sorted(found))))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], ports(sys.argv[3:])))
