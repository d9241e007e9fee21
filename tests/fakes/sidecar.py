"""What stands in for the container `tailscale` on the local node: says who is calling, as a file has it at the time.

The file holds what whois answers, by address. It is run as a program, by its path.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

_HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def _main(people: Path) -> None:
    from fakes.localapi import FakeLocalApi  # noqa: PLC0415 - found by now

    class FromFile(FakeLocalApi):
        async def _whois(self, target: str) -> bytes:
            self.whois = json.loads(people.read_text())  # noqa: ASYNC240 - small, and nobody else waits
            return await super()._whois(target)

    async def healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_HEALTHY)
        writer.close()

    await FromFile(Path(os.environ["TS_SOCKET"])).start()
    host, port = os.environ["TS_LOCAL_ADDR_PORT"].rsplit(":", 1)
    async with await asyncio.start_server(healthy, host, int(port)) as server:
        await server.serve_forever()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    asyncio.run(_main(Path(sys.argv[1])))
