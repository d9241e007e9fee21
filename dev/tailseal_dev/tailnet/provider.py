"""An identity provider beside a node, by the command that a pod runs, and those who come to it over the tailnet."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from subprocess import Popen
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt

from tailseal_dev import process
from tailseal_dev.tailnet.headscale import TailnetError
from tailseal_dev.tailnet.net import Tailnet
from tailseal_dev.tailnet.node import Node

VERIFIER: Final = "v" * 43
CHALLENGE: Final = base64.urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()

_OPERATOR: Final = Path(__file__).parents[3] / "operator"
_UP_WITHIN: Final = 180.0
_KNOWN_WITHIN: Final = 180.0
_TIMES: Final = 120
"""Two busy nodes may not find each other in time, nor a busy tailscaled its tongue: that is a 502 and a 503."""
_PAUSE: Final = 0.25
_OK, _SEE_OTHER, _UNAVAILABLE = 200, 303, (502, 503)

_OFF: Final = """
import runpy, time
now = time.time
time.time = lambda: now() + {}
runpy.run_module("tailseal", run_name="__main__")
"""

Volumes = Mapping[str, Mapping[str, bytes]]
"""Files by name of the volume."""


@dataclass(frozen=True, slots=True)
class Client:
    """An application that people log in to.

    Args:
        id: its client id.
        secret: which it proves itself with.
        callback: where it has browsers sent.
    """

    id: str
    secret: str
    callback: str


class Provider:
    """A worker that runs beside a node of the tailnet.

    Args:
        tailnet: that it is part of.
        node: which callers come to.
        volumes: of its bundle.
        directory: for these, its state, socket and log; short, as a socket's path is.
        issuer: as its bundle has it.
        mode: `Serve`: on a unix socket behind `tailscale serve`; `Direct`: on a loopback port.
        port: where everybody comes who does not come over the tailnet; the next one is for management.
        direct: with `Direct`: where callers of the tailnet come.
        ahead: seconds by which its clock is.
    """

    def __init__(  # noqa: PLR0913 - what a pod is told
        self,
        tailnet: Tailnet,
        node: Node,
        volumes: Volumes,
        directory: Path,
        *,
        issuer: str,
        mode: str = "Serve",
        port: int = 9443,
        direct: int = 8080,
        ahead: float = 0.0,
    ) -> None:
        self.tailnet, self.node, self.mode, self.issuer, self.port = tailnet, node, mode, issuer, port
        self.at = 80 if mode == "Serve" else direct
        self.base = f"http://{node.host}:{self.at}".removesuffix(":80")
        self.log, self._directory = directory / "provider.log", directory
        self._program = ["-c", _OFF.format(ahead)] if ahead else ["-m", "tailseal"]
        self._running: Popen[bytes] | None = None
        for volume, files in volumes.items():
            (directory / "bundle" / volume).mkdir(parents=True)
            for name, content in files.items():
                (directory / "bundle" / volume / name).write_bytes(content)
        (directory / "state").mkdir()

    def start(self) -> None:
        """Returns when it takes callers.

        Raises:
            TailnetError: it did not come up; says what it said.
        """
        at, own = f"127.0.0.1:{self.at}", self._directory / "idp.sock"
        argv = [sys.executable, *self._program, "idp", f"--bundle={self._directory}/bundle"]
        argv += [f"--tailnet={f'unix:{own}' if self.mode == 'Serve' else at}", f"--localapi={self.node.socket}"]
        argv += [f"--listen=127.0.0.1:{self.port}", f"--management=127.0.0.1:{self.port + 1}"]
        argv += [f"--state={self._directory}/state", f"--socket={self._directory}/explain.sock"]
        environment = os.environ | {"PYTHONPATH": str(_OPERATOR)}
        self._running = self.tailnet.space.start(argv, self.log, environment)
        deadline = time.monotonic() + _UP_WITHIN
        while '"listening"' not in self.log.read_text():
            if self._running.poll() is not None or time.monotonic() > deadline:
                raise TailnetError(f"the identity provider did not come up:\n{process.tail(self.log)}")
            time.sleep(0.05)
        if self.mode == "Serve":
            self.node.tailscale("serve", "--bg", "--http=80", f"unix:{own}")

    def stop(self) -> None:
        """End it; callers of its node get no answer any more."""
        if self._running is not None:
            process.stop(self._running)
            self._running = None
            if self.mode == "Serve":
                self.node.tailscale("serve", "reset")

    def decisions(self) -> list[dict[str, Any]]:
        """Its audit lines so far."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if str(line.get("type", "")).startswith("dev.tailseal.exchange.")]

    def asked(self, node: Node, path: str, *arguments: str) -> tuple[int, str]:
        """Status and body, as a program on the node sees them.

        Raises:
            TailnetError: no answer.
        """
        for _ in range(_TIMES):
            result = node.curl(f"{self.base}{path}", "--write-out", "\n%{http_code}", *arguments)
            body, _, status = result.stdout.rpartition("\n")
            if result.returncode == 0 and int(status) not in _UNAVAILABLE:
                return int(status), body
            time.sleep(_PAUSE)
        raise TailnetError(f"{node.name} got no answer: {result.stdout}{result.stderr}\n{process.tail(self.log)}")

    def elsewhere(self, path: str, *arguments: str, port: int | None = None) -> tuple[int, str]:
        """Status and body for who does not come over the tailnet, as applications in a cluster.

        Args:
            path: what is asked for.
            arguments: further ones of curl.
            port: of loopback; None: the one that is for them.

        Raises:
            TailnetError: no answer.
        """
        argv = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "10", *arguments]
        argv += ["--write-out", "\n%{http_code}", f"http://127.0.0.1:{port or self.port}{path}"]
        for _ in range(_TIMES):
            result = self.tailnet.space.run(argv)
            body, _, status = result.stdout.rpartition("\n")
            if result.returncode == 0 and int(status) not in _UNAVAILABLE:
                return int(status), body
            time.sleep(_PAUSE)
        raise TailnetError(f"no answer: {result.stdout}{result.stderr}\n{process.tail(self.log)}")

    # ------------------------------------------------------------------------------------------------------- tokens

    def verified(self, token: str) -> dict[str, Any]:
        """The claims of a token of ours, by the keys that we serve."""
        keys = jwt.PyJWKSet.from_json(self.elsewhere("/.well-known/jwks.json")[1])
        key = keys[jwt.get_unverified_header(token)["kid"]]
        found: dict[str, Any] = jwt.decode(
            token, key, algorithms=[key.algorithm_name], issuer=self.issuer, options={"verify_aud": False}
        )
        return found

    def redeemed(self, client: Client, **form: str) -> dict[str, Any]:
        """What an application gets at the token endpoint."""
        sent = ("--user", f"{client.id}:{client.secret}", "--data", urlencode(form))
        found: dict[str, Any] = json.loads(self.elsewhere("/token", *sent)[1])
        return found

    def refreshed(self, client: Client, token: str) -> dict[str, Any]:
        """What it gets for a refresh token."""
        return self.redeemed(client, grant_type="refresh_token", refresh_token=token)

    def told(self, token: str) -> int:
        """Status of userinfo."""
        return self.elsewhere("/userinfo", "--header", f"Authorization: Bearer {token}")[0]


@dataclass
class Browser:
    """A person's browser on a node, or whoever else sits there.

    Args:
        node: where it is.
        provider: which it talks to.
    """

    node: Node
    provider: Provider
    cookies: str = ""

    def code(self, client: Client, scope: str = "openid offline_access", **more: str) -> str:
        """Log in and say yes; the code that the application gets.

        Args:
            client: that is logged in to.
            scope: which is asked for.
            more: further parameters of the request.

        Raises:
            TailnetError: it was not given.
        """
        asked = {"client_id": client.id, "redirect_uri": client.callback, "response_type": "code", "scope": scope}
        asked |= {"state": "s1", "code_challenge": CHALLENGE, "code_challenge_method": "S256"} | more
        page = self._until_known(f"/authorize?{urlencode(asked)}")
        status, answer = self._submit(page, answer="yes")
        found = re.findall(r"(?im)^location: (\S*)", answer)
        if status != _SEE_OTHER or not found:
            raise TailnetError(f"no code for {self.node.name}: {status} {answer[:500]}")
        return str(parse_qs(urlsplit(found[0]).query)["code"][0])

    def log_in(self, client: Client, scope: str = "openid offline_access", *, at: Provider | None = None) -> Any:  # noqa: ANN401 - what the endpoint answers
        """The tokens that the application gets, at the same replica or another."""
        form = {"grant_type": "authorization_code", "code": self.code(client, scope), "redirect_uri": client.callback}
        return (at or self.provider).redeemed(client, **form, code_verifier=VERIFIER)

    def connect(self, uri: str) -> tuple[int, str]:
        """Let a device in that shows this URI: status and text of the last page."""
        parts = urlsplit(uri)
        page = self._until_known(f"{parts.path}?{parts.query}")
        _, question = self._submit(page)
        return self._submit(question, answer="yes")

    def _until_known(self, path: str) -> str:
        """A page; asked for again while the provider has not heard of a node that has just come up."""
        deadline = time.monotonic() + _KNOWN_WITHIN
        while True:
            status, page = self.provider.asked(self.node, path, "--include", *self._cookie())
            if status == _OK:
                self._keep(page)
                return page
            if time.monotonic() > deadline:
                raise TailnetError(f"no page for {self.node.name}: {status} {page[:500]}")
            time.sleep(0.1)

    def _submit(self, page: str, **chosen: str) -> tuple[int, str]:
        """Send the page's first form, as a browser of the provider's own origin."""
        found = re.search(r'<form method="post" action="([^"]*)">(.*?)</form>', page, re.DOTALL)
        if found is None:
            raise TailnetError(f"{self.node.name} sees no form: {page[:500]}")
        fields = re.findall(r'<input type="(?:hidden|text)"[^>]*name="([^"]*)" value="([^"]*)"', found[2])
        form = {name: html.unescape(value) for name, value in fields} | chosen
        sent = ["--header", f"Origin: {self.provider.issuer}", "--include", "--data", urlencode(form)]
        path = "/" + urlsplit(html.unescape(found[1])).path.lstrip("/")
        status, answer = self.provider.asked(self.node, path, *self._cookie(), *sent)
        self._keep(answer)
        return status, answer

    def _keep(self, page: str) -> None:
        self.cookies = "; ".join(re.findall(r"(?im)^set-cookie: ([^;\r]*)", page)) or self.cookies

    def _cookie(self) -> list[str]:
        return ["--header", f"Cookie: {self.cookies}"] if self.cookies else []
