"""A real nginx with a guard beside it and a service behind it, as docs/guard.md has them."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Any, Final, Self

from fakes.processes import PATIENT
from tailseal_dev import process

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "guard.md").read_text()
WITHIN: Final = 180.0

Start = Callable[[Sequence[str], Path, dict[str, str]], "Popen[bytes]"]

_ECHO: Final = """
import http.server, json, sys

class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = {name.lower(): value for name, value in self.headers.items() if "tailseal" in name.lower()}
        body = json.dumps({"path": self.path, "told": told}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET
    def log_message(self, *_): pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""


def why_not() -> str | None:
    """One line that says why there is none; None: there is."""
    return None if program() else "a real nginx is needed: apt-get install nginx-light"


def program() -> str | None:
    """Of nginx: Debian puts it where only root's path leads."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def blocks(language: str) -> list[str]:
    """The page's listings in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


class Proxied:
    """Context manager: nginx, guard and service, on sockets in a directory.

    Args:
        directory: short, as a socket's path is.
        localapi: of the node's tailscaled.
        port: of the service, on loopback.
        listen: what nginx listens on, in place of the page's socket.
        start: starts a program with a log and an environment.
        identity: what the guard is told of callers.
    """

    def __init__(
        self,
        directory: Path,
        localapi: Path,
        port: int,
        *,
        listen: str = "",
        start: Start = process.start,
        identity: str = "address",
    ) -> None:
        self.directory, self.socket = directory, directory / "nginx.sock"
        self._localapi, self._port, self._listen, self._identity = localapi, port, listen, identity
        self._start = start
        self._running: list[Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for running in reversed(self._running):
            process.stop(running)

    def log(self, name: str) -> str:
        """What a program has said so far."""
        return (self.directory / f"{name}.log").read_text()

    def _begin(self) -> None:
        (self.directory / "rules.yaml").write_text(blocks("yaml")[0])
        environment = os.environ | {"PYTHONPATH": str(ROOT / "operator")}
        self._run("service", [sys.executable, "-c", _ECHO, str(self._port)], environment)
        guard = [sys.executable, *PATIENT, "guard", "serve", str(self.directory / "rules.yaml")]
        guard += [f"--listen=unix:{self.directory}/guard.sock", "--socket-mode=666", f"--localapi={self._localapi}"]
        self._run("guard", [*guard, f"--identity={self._identity}"], environment)
        self._await(lambda: "listening" in self.log("guard"), "guard")
        (self.directory / "nginx.conf").write_text(self._configuration())
        self._run("nginx", [program() or "nginx", "-p", str(self.directory), "-c", "nginx.conf"], environment)
        self._await((self.directory / "nginx.pid").exists, "nginx")

    def _configuration(self) -> str:
        server, connection = blocks("nginx")
        if self._identity == "connection":
            server = server.replace("        internal;\n", f"        internal;\n{connection}")
        if self._listen:
            server = server.replace("listen unix:/run/app/nginx.sock;", f"listen {self._listen};")
        server = server.replace("/run/app/", f"{self.directory}/").replace(
            "http://127.0.0.1:8080", f"http://127.0.0.1:{self._port}"
        )
        kept = "".join(
            f"{what}_temp_path {self.directory}/{what};\n"
            for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        head = f"{user}daemon off;\nerror_log stderr;\npid {self.directory}/nginx.pid;\nevents {{}}\n"
        return f"{head}http {{\naccess_log off;\n{kept}{server}}}\n"

    def _run(self, name: str, argv: list[str], environment: dict[str, str]) -> None:
        self._running.append(self._start(argv, self.directory / f"{name}.log", environment))

    def _await(self, ready: Callable[[], Any], name: str) -> None:
        deadline = time.monotonic() + WITHIN
        while not ready():
            assert self._running[-1].poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.05)
