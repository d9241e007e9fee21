"""A real server that speaks S3 (versitygw on a folder), and a way to it on which answers get lost."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from tailseal_dev.cache import ensure
from tailseal_dev.pki import LOOPBACK_NAMES, Authority
from tailseal_dev.ports import free_ports
from tailseal_dev.process import start, stop

ACCESS, SECRET = "AKIAEXAMPLE", "wJalrXUtnFEMI-EXAMPLEKEY"
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """A running server; its buckets let everybody read."""

    port: int
    trust: ssl.SSLContext | None = None
    """Of readers; None: it speaks plain http."""

    @property
    def url(self) -> str:
        return f"{'https' if self.trust else 'http'}://127.0.0.1:{self.port}"

    def make_bucket(self, name: str) -> None:
        self._ask("PUT", f"/{name}")
        rule = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
        self._ask("PUT", f"/{name}", "policy=", json.dumps({"Version": "2012-10-17", "Statement": [rule]}).encode())

    def put(self, path: str, body: bytes) -> None:
        """Somebody else writes an object, without any condition."""
        self._ask("PUT", path, body=body)

    def get(self, path: str) -> httpx.Response:
        """What an anonymous reader gets."""
        return httpx.get(self.url + path, trust_env=False, verify=self.trust or True)

    def _ask(self, method: str, path: str, query: str = "", body: bytes = b"") -> None:
        headers = _signed(method, path, query, body, f"127.0.0.1:{self.port}")
        url = f"{self.url}{path}" + (f"?{query}" if query else "")
        verify = self.trust or True
        httpx.request(method, url, headers=headers, content=body, trust_env=False, verify=verify).raise_for_status()


@contextmanager
def s3_server(
    directory: Path, authority: Authority | None = None, *, names: tuple[str, ...] = ()
) -> Iterator[S3Server]:
    """The server on a folder of its own, ready when given; with an authority, it speaks TLS, also by these names."""
    (port,) = free_ports(1)
    root = directory / "root"
    root.mkdir()
    program = str(ensure("s3") / "versitygw")
    where = ["--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, "--health", "/-/health", "--quiet"]
    trust = None
    if authority is not None:
        certificate, key = authority.server((*names, *LOOPBACK_NAMES)).write(directory, "s3")
        where += ["--cert", str(certificate), "--key", str(key)]
        trust = ssl.create_default_context(cadata=authority.certificate.decode())
    process = start([program, *where, "posix", str(root)], directory / "log")
    try:
        server = S3Server(port, trust)
        deadline = time.monotonic() + 60
        while not _healthy(server):
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, "the S3 server does not get ready"
            time.sleep(0.05)
        yield server
    finally:
        stop(process)


def _healthy(server: S3Server) -> bool:
    try:
        return server.get("/-/health").is_success
    except httpx.TransportError:
        return False


@dataclass
class Way:
    """A proxy before a server.

    `fault` is asked with method and path: "" passes, "hang" never answers, "503" and "412" answer in the server's
    place, "lost" lets the server do it and drops the answer, "cut" gives half of it.
    """

    port: int = 0
    fault: Callable[[str, str], str] = lambda _method, _path: ""
    asked: list[str] = field(default_factory=list)
    """Heads of the requests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def way_to(server: S3Server) -> AsyncIterator[Way]:
    """A way to the server on which things go wrong as told."""
    way = Way()
    open_now: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await _pass_on(way, server, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            open_now.discard(task)
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    way.port = listener.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        listener.close()
        for task in set(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _pass_on(way: Way, server: S3Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    method, path, _ = head.decode("latin-1").split(" ", 2)
    size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    body = await reader.readexactly(size)
    way.asked.append(head.decode("latin-1").lower())
    fault = way.fault(method, path)
    if fault == "hang":
        await asyncio.sleep(3_600)
    if fault in ("503", "412"):
        writer.write(f"HTTP/1.1 {fault} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return
    onward_reader, onward = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        onward.write(head[:-2] + b"Connection: close\r\n\r\n" + body)
        answer = await onward_reader.read()
    finally:
        onward.close()
    if fault != "lost":
        writer.write(answer[: -max(1, len(answer.partition(b"\r\n\r\n")[2]) // 2)] if fault == "cut" else answer)
        await writer.drain()


def _signed(method: str, path: str, query: str, body: bytes, host: str) -> dict[str, str]:
    """AWS Signature Version 4, written by hand: what sets the stage should not share code with what is tested."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    canonical = "\n".join([method, path, query, *lines, "", names, digest])
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}".encode(), hashlib.sha256).hexdigest()
    credential = f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": credential}
