"""The public issuers as a worker process meets them: by their own names, over https, with keys of their own."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from fakes.exchange import jwk, rsa_key
from fakes.processes import PATIENT
from tailseal_dev.pki import Authority
from tailseal_dev.ports import free_ports

_ROUTED = """
import httpcore, socket
there, resolve = httpcore.AnyIOBackend.connect_tcp, socket.getaddrinfo
async def connect(self, host, port, *rest, **named):
    return await there(self, "127.0.0.1", PORT, *rest, **named)
httpcore.AnyIOBackend.connect_tcp = connect
socket.getaddrinfo = lambda host, *rest, **named: resolve("127.0.0.1", *rest, **named)
"""
"""The worker as it is, in a world whose every name and port lead to one server of ours."""


class Internet:
    """Discovery and keys of several issuers, all behind one port.

    Args:
        issuers: their URLs; each signs with a key of its own, under the same key id.
    """

    def __init__(self, issuers: Sequence[str]) -> None:
        self.authority = Authority()
        self.documents: dict[str, dict[str, Any]] = {}
        for issuer in issuers:
            keys = {"keys": [jwk(rsa_key(issuer), "f1", "RS256")]}
            self.documents[f"{issuer}/.well-known/openid-configuration"] = {
                "issuer": issuer,
                "jwks_uri": f"{issuer}/keys",
            }
            self.documents[f"{issuer}/keys"] = keys
        self._hosts = sorted({urlsplit(issuer).netloc for issuer in issuers})

    @contextlib.contextmanager
    def served(self, folder: Path) -> Iterator[int]:
        """The port, while the context is open."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.documents))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.authority.server(self._hosts).write(folder, "internet"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@contextlib.contextmanager
def worker(bundle: Path, log: Path, internet: int) -> Iterator[str]:
    """The URL of a token service in a process of its own, once it is ready."""
    with both(bundle, log, internet) as (url, _):
        yield url


@contextlib.contextmanager
def both(bundle: Path, log: Path, internet: int) -> Iterator[tuple[str, str]]:
    """The same, and the URL of its management port."""
    serving, management = free_ports(2)
    command = [
        sys.executable,
        *PATIENT[:-1],
        _ROUTED.replace("PORT", str(internet)) + PATIENT[-1],
        "sts",
        "--bundle",
        str(bundle),
    ]
    command += ["--listen", f"127.0.0.1:{serving}", "--management", f"127.0.0.1:{management}"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=dict(os.environ))
    try:
        _ready(process, f"http://127.0.0.1:{management}/readyz", log)
        yield f"http://127.0.0.1:{serving}", f"http://127.0.0.1:{management}"
    finally:
        process.terminate()
        process.wait(60)


def _ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _handler(documents: dict[str, dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            document = documents.get(f"https://{self.headers['host']}{self.path}")
            body = json.dumps(document or {}).encode()
            self.send_response(200 if document else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
