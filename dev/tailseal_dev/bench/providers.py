"""Identity providers that people log in to for a measurement: ours on a store, and npm oidc-provider in memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import parse_qs, urlsplit

from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import ClientRecord
from tailseal_dev.bench import clock, server
from tailseal_dev.bench.workload import SETTINGS, Workload
from tailseal_dev.cache.npm import installed
from tailseal_dev.ports import free_ports

BACK: Final = "https://app.bench.example/cb"
"""Where the client has browsers sent."""


def ours(folder: Path, tailseal: Path, url: str) -> AbstractContextManager[server.Server]:
    """The running worker, which comes by callers as behind `tailscale serve`, at the socket `<folder>.sock`.

    Args:
        folder: for its bundle; beside it is `localapi`, whom it asks who they are.
        tailseal: the command.
        url: of its database; empty: it has a file of its own.
    """
    spec: dict[str, Any] = {"identityProviderRef": {"name": "bench"}, "clientID": "app", "type": "Public"}
    spec |= {"redirectURIs": [BACK], "accessTokenFormat": "Opaque", "allow": {"users": ["*@bench.example"]}}
    record = ClientRecord(namespace="bench", name="app", uid="u", generation=1, spec=spec)
    settings = SETTINGS.model_copy(update={"state": "Postgres" if url else "SQLite"})
    volumes = {
        "signing": Workload(1, "RS256").signing(),
        "policies": build.policies_volume(settings, {}, build.clients([record])[0]),
        "credentials": {"state.url": url.encode()} if url else {},
        "state": {},
    }
    for volume, files in volumes.items():
        (folder / volume).mkdir(parents=True)
        for name, content in files.items():
            (folder / volume / name).write_bytes(content)
    options = [f"--tailnet=unix:{folder}.sock", f"--localapi={folder.parent / 'localapi'}"]
    return server.running(folder, tailseal, "idp", [*options, f"--state={folder / 'state'}"])


@contextmanager
def theirs() -> Generator[server.Server]:
    """The one of npm, with the same client; it keeps everything in memory.

    Raises:
        BuildError: it cannot be had here.
    """
    client = {"client_id": "app", "redirect_uris": [BACK], "response_types": ["code"]}
    client |= {"grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none"}
    (port,) = free_ports(1)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(["node", "provider.mjs", str(port)], cwd=installed("oidc"), **pipes) as process:
        try:
            os.sched_setaffinity(process.pid, clock.core(clock.SERVER_CORE))
            inward, outward = process.stdin, process.stdout
            if inward is None or outward is None or not _told(inward, outward, client):
                raise RuntimeError("npm oidc-provider ended")
            yield server.Server(process.pid, port, 0, 0.0, 0.0)
        finally:
            process.kill()


def _told(inward: IO[bytes], outward: IO[bytes], client: dict[str, Any]) -> bool:
    inward.write(json.dumps({"clients": [client], "resources": []}).encode())
    inward.close()
    return any(b"ready" in line for line in outward)


async def whois(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What tailscaled's LocalAPI says of anybody's address."""
    target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
    address = parse_qs(urlsplit(target).query).get("addr", [""])[0]
    number = int(address.rpartition(".")[2] or 0)
    node = {"ID": number, "StableID": f"n{number}", "Name": f"pc{number}.bench.example.", "User": number}
    node |= {"Key": f"nodekey:{number:064x}", "Addresses": [f"{address}/32"]}
    profile = {"ID": number, "LoginName": f"person{number}@bench.example", "DisplayName": f"Person {number}"}
    status = {"BackendState": "Running", "Self": {"DNSName": "idp.bench.example."}}
    body = json.dumps({"Node": node, "UserProfile": profile, "CapMap": {}} if address else status).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    writer.close()
