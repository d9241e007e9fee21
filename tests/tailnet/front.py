"""What stands before headscale and answers what it has not got: OAuth clients, federation, keys made with their tokens.

`front.py PORT CONTROL_PORT FILE`: everything else goes to the control server as it is. FILE says what the identity is,
what the OAuth client may tag, and which key is given out; beside it, with the suffix `.asked`, stands what was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

API = ("/api/v2/oauth/token", "/api/v2/oauth/token-exchange", "/api/v2/tailnet/-/keys")


async def main() -> None:
    from fakes.tailscale import FEDERATED_ID, Identity, Tailscale  # noqa: PLC0415 - found by now

    port, control, file = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    told = json.loads(file.read_text())  # noqa: ASYNC240 - nobody else waits yet
    tailscale = Tailscale(tags=tuple(told["tags"]), identity=Identity(**told["identity"]), key=told["key"])
    assert told["client"] == FEDERATED_ID

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        path = lines[0].split()[1]
        if path not in API:
            await relay(head, reader, writer, control)
            return
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        reply = tailscale.handle(path, headers, await reader.readexactly(int(headers.get("content-length", 0))))
        asked = {"asked": tailscale.asked, "assertions": tailscale.assertions, "keys": len(tailscale.keys)}
        fresh = file.with_suffix(".fresh")
        fresh.write_text(json.dumps(asked))
        fresh.rename(file.with_suffix(".asked"))
        start = f"HTTP/1.1 {reply.status} .\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(f"{start}Content-Length: {len(reply.body)}\r\n\r\n".encode() + reply.body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await server.serve_forever()


async def relay(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Hand a connection on to the control server, from its first request."""
    far, back = await asyncio.open_connection("127.0.0.1", port)
    back.write(head)
    with contextlib.suppress(ConnectionError):
        await asyncio.gather(_pump(reader, back), _pump(far, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    asyncio.run(main())
