"""A server that tells its callers who they are: `whoami.py LOCALAPI direct PORT` or `whoami.py LOCALAPI serve SOCKET`.

It runs on the provider's node, with the resolver that workers have.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tailseal.tailnet import CallerResolver, Direct, LocalApi, NobodyError, Serve, UnavailableError


async def main() -> None:
    path, mode, place = sys.argv[1:]
    api = LocalApi(path, within=60.0)
    resolver: CallerResolver = Serve(api) if mode == "serve" else Direct(api)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = await whoami(resolver, reader, writer.get_extra_info("peername"))
        body = json.dumps(answer).encode()
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        await writer.drain()
        writer.close()

    if mode == "serve":
        server = await asyncio.start_unix_server(serve, place)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", int(place))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


async def whoami(resolver: CallerResolver, reader: asyncio.StreamReader, peer: Any) -> dict[str, Any]:  # noqa: ANN401
    host, port = peer[:2] if peer else ("", 0)
    try:
        accepted = await resolver.accepted(host, port)
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[1:-2]
        pairs = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        caller = await resolver.caller(accepted, pairs)
    except (NobodyError, UnavailableError) as error:
        return {"reason": error.reason}
    return {"sub": caller.subject, "node": caller.node.name, "tags": caller.node.tags, "peer": host}


if __name__ == "__main__":
    asyncio.run(main())
