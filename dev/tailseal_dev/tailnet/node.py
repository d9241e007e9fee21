"""One node: a tailscaled, in userspace mode unless told otherwise, with a proxy of its own, and its command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

from tailseal_dev import process
from tailseal_dev.tailnet.headscale import DOMAIN, Control, TailnetError
from tailseal_dev.tailnet.space import Space

_SOCKET_WITHIN = 180.0
_UP_WITHIN = 170


class Node:
    """A node of the tailnet.

    Args:
        name: its host name.
        space: where its proxy listens.
        programs: directory of tailscaled and tailscale.
        directory: for its state, socket and log; short, as a socket's path is.
        proxy: port of its SOCKS and HTTP proxy on loopback.
        control: its control server.
        tun: its network interface, which takes root and /dev/net/tun; by default it has none.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        programs: Path,
        directory: Path,
        proxy: int,
        control: Control | None = None,
        tun: str = "userspace-networking",
    ) -> None:
        self.name, self.directory, self.proxy = name, directory, proxy
        self._tun = tun
        self._control = control or Control()
        self._space, self._programs = space, programs
        self._running: Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def socket(self) -> Path:
        """The LocalAPI, which is reached from outside the namespace as well."""
        return self.directory / "ts.sock"

    @property
    def command(self) -> list[str]:
        """The command line of Tailscale's own client, for this node."""
        return [str(self._programs / "tailscale"), f"--socket={self.socket}"]

    @property
    def host(self) -> str:
        """Its name in the tailnet's DNS."""
        return f"{self.name}.{DOMAIN}"

    def start(self) -> None:
        """Returns when the LocalAPI takes connections.

        Raises:
            TailnetError: it did not come up.
        """
        listen = f"127.0.0.1:{self.proxy}"
        argv = [
            str(self._programs / "tailscaled"),
            f"--tun={self._tun}",
            f"--statedir={self.directory}",
            f"--socket={self.socket}",
            "--port=0",
            "--no-logs-no-support",
            f"--socks5-server={listen}",
            f"--outbound-http-proxy-listen={listen}",
        ]
        log = self.directory / "tailscaled.log"
        self._running = self._space.start(argv, log, self._environment())
        deadline = time.monotonic() + _SOCKET_WITHIN
        while not self._takes_connections():
            if self._running.poll() is not None or time.monotonic() > deadline:
                raise TailnetError(f"tailscaled of {self.name} did not come up:\n{process.tail(log)}")
            time.sleep(0.02)

    def up(self, key: str, *flags: str) -> None:
        """Join the tailnet, with these further flags of `tailscale up`.

        Raises:
            TailnetError: it could not; says why.
        """
        self.tailscale(
            "up",
            f"--login-server={self._control.url}",
            f"--auth-key={key}",
            f"--hostname={self.name}",
            "--accept-dns=false",
            f"--timeout={_UP_WITHIN}s",
            *flags,
        )

    def stop(self) -> None:
        """End tailscaled; its state stays, and `start` brings the same node back."""
        if self._running is not None:
            process.stop(self._running, grace=2)
            self._running = None

    def tailscale(self, *arguments: str) -> str:
        """Run the command line against this node; what it printed.

        Raises:
            TailnetError: it failed; the key is not repeated.
        """
        result = self._space.run([*self.command, *arguments], env=self._environment())
        if result.returncode != 0:
            raise TailnetError(f"tailscale {arguments[0]} on {self.name}: {result.stderr.strip()[-500:]}")
        return result.stdout

    def whois(self, address: str) -> dict[str, Any] | None:
        """What this node knows of an address without a port; None: nothing."""
        request = f"GET /localapi/v0/whois?addr={address} HTTP/1.0\r\nHost: local-tailscaled.sock\r\n\r\n"
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self.socket))
                connection.sendall(request.encode())
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return None
        head, _, body = answer.partition(b"\r\n\r\n")
        found: dict[str, Any] | None = json.loads(body) if b" 200 " in head.split(b"\r\n", 1)[0] else None
        return found

    @property
    def addresses(self) -> tuple[str, str]:
        """Its IPv4 and its IPv6 address in the tailnet."""
        first, second = self.tailscale("ip").split()
        return first, second

    def curl(self, url: str, *arguments: str) -> CompletedProcess[str]:
        """Send a request through this node, as a program on it would."""
        argv = ["curl", "--silent", "--show-error", "--max-time", "10", *arguments, url]
        return subprocess.run(self.inside(*argv), capture_output=True, text=True, check=False, timeout=180)

    def inside(self, *argv: str) -> list[str]:
        """The command that runs a program in the namespace, its requests sent through this node."""
        proxies = (f"{scheme}_proxy=http://127.0.0.1:{self.proxy}" for scheme in ("http", "https"))
        return self._space.inside(["env", *proxies, *argv])

    def _takes_connections(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True

    def _environment(self) -> dict[str, str]:
        """No proxies, nothing of Tailscale's own logging, and a relay without TLS where the control server has none."""
        control = self._control
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "TS_NO_LOGS_NO_SUPPORT": "true",
            "TS_DISABLE_PORTMAPPER": "1",
            **({} if control.certificate else {"TS_DEBUG_USE_DERP_HTTP": "true"}),
            **({} if control.ca is None else {"SSL_CERT_FILE": str(control.ca)}),
        }
