"""What logins and refreshes cost a running identity provider on each store, beside npm oidc-provider doing the same."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp

from tailseal_dev.bench import clock, server
from tailseal_dev.bench.providers import BACK, ours, theirs, whois
from tailseal_dev.bench.report import Row
from tailseal_dev.cache.build import BuildError
from tailseal_dev.postgres import PostgresServer, programs

PEOPLE: Final = 24
"""Who log in at once: each has a browser and an address."""

FLOWS, REFRESHES, WARM = 6, 6, 12
"""Of each person in a round, and of each before the first, for Node.js takes hundreds until it is at its pace. Theirs
forgets what is older than some thousand writes, and ours lets nobody have much more in so short a time."""

VERIFIER: Final = "v" * 43
_CHALLENGE: Final = base64.urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
_ASKED: Final = {"client_id": "app", "redirect_uri": BACK, "response_type": "code", "scope": "openid email"}
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')

_GATES: Final = {"SQLite": ">= 0.6", "PostgreSQL": ">= 0.35"}
"""Theirs keeps everything in memory and loses it with the process; ours waits for a disk or a database."""

Spent = tuple[float, float]
"""Seconds of the server's CPU for a code flow, and for a refresh."""


@dataclass
class Person:
    """Somebody with a browser."""

    http: aiohttp.ClientSession
    address: str
    cookies: dict[str, str] = field(default_factory=dict)
    refresh: str = ""

    async def log_in(self) -> None:
        """A code for the asking, or for a click the first time, and tokens for it."""
        url = f"/authorize?{urlencode(_ASKED | {'code_challenge': _CHALLENGE, 'code_challenge_method': 'S256'})}"
        status, location, text = await self._send("GET", url)
        while not location.startswith(BACK):
            if status == 200:  # noqa: PLR2004 - a page that asks
                form = {name: value.replace("&amp;", "&") for name, value in _HIDDEN.findall(text)}
                status, location, text = await self._send("POST", "/authorize/confirm", form | {"answer": "yes"})
            else:
                parts = urlsplit(location)
                status, location, text = await self._send("GET", f"{parts.path}?{parts.query}".rstrip("?"))
            _expect(status < 400, status, text)  # noqa: PLR2004 - refusals are fast
        code = parse_qs(urlsplit(location).query)["code"][0]
        await self._tokens(grant_type="authorization_code", code=code, redirect_uri=BACK, code_verifier=VERIFIER)

    async def go_on(self) -> None:
        """Another refresh token for the last one."""
        await self._tokens(grant_type="refresh_token", refresh_token=self.refresh)

    async def _tokens(self, **fields: str) -> None:
        status, _, text = await self._send("POST", "/token", fields | {"client_id": "app"})
        _expect(status == 200, status, text)  # noqa: PLR2004
        found = json.loads(text)
        _expect("id_token" in found and found["refresh_token"] != self.refresh, status, text)
        self.refresh = found["refresh_token"]

    async def _send(self, method: str, url: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"x-forwarded-for": self.address} | ({"cookie": cookie} if cookie else {})
        async with self.http.request(method, url, data=form, headers=headers, allow_redirects=False) as answer:
            self.cookies |= {name: found.value for name, found in answer.cookies.items()}
            return answer.status, answer.headers.get("location", ""), await answer.text()


def _expect(right: object, status: int, text: str) -> None:
    if not right:
        raise RuntimeError(f"another answer than one that counts: {status} {text[:300]}")


def rows(rounds: int, tailseal: Path, *, people: int = PEOPLE) -> Iterator[Row]:
    """All servers run from the first round to the last, and are measured in turns."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailseal-bench-")))
        servers = {"SQLite": stack.enter_context(ours(folder / "sqlite", tailseal, ""))}
        if programs() is not None:
            url = stack.enter_context(PostgresServer()).url
            servers["PostgreSQL"] = stack.enter_context(ours(folder / "postgres", tailseal, url))
        try:
            servers["npm oidc-provider, in memory"] = stack.enter_context(theirs())
        except BuildError as error:
            yield Row("logins beside npm oidc-provider", f"not measured: {str(error).partition(chr(10))[0]}")
        spent = asyncio.run(_measured(folder, servers, rounds, people))
        yield from _rows(spent)
        megabytes = {name: clock.resident(each.pid) / 1e6 for name, each in servers.items()}
        shown = ", ".join(f"{name} {size:.0f}" for name, size in megabytes.items())
        yield Row(
            "memory of the identity provider after logins", f"MB: {shown}", megabytes["SQLite"], "<= 130", "<= 80"
        )
        started = servers["SQLite"].cpu_to_ready
        ratio = started / median(server.import_asyncio() for _ in range(rounds))
        name = "start of the identity provider ÷ start of Python with asyncio (CPU)"
        yield Row(name, f"{started * 1e3:.0f} ms CPU", ratio, "<= 12", "<= 8")


def _rows(spent: dict[str, list[Spent]]) -> Iterator[Row]:
    typical = {name: tuple(median(each) for each in zip(*found, strict=True)) for name, found in spent.items()}
    npm = next((found for name, found in typical.items() if name.startswith("npm")), None)
    for name, found in typical.items():
        for what, cost, other in zip(("code flow", "refresh"), found, npm or (None, None), strict=True):
            ratio = None if other is None or name.startswith("npm") else other / cost
            gate = "" if ratio is None else _GATES[name]
            title = f"{what}, {name}" + (": how many for one of npm oidc-provider" if ratio is not None else "")
            yield Row(title, f"{1 / cost:,.0f} per CPU second of the server", ratio, gate)


async def _measured(
    folder: Path, servers: dict[str, server.Server], rounds: int, people: int
) -> dict[str, list[Spent]]:
    tailscaled = await asyncio.start_unix_server(whois, folder / "localapi")
    crowds: dict[str, list[Person]] = {}
    async with tailscaled, AsyncExitStack() as stack:
        for name, each in servers.items():
            sockets = {"SQLite": folder / "sqlite.sock", "PostgreSQL": folder / "postgres.sock"}
            http = await stack.enter_async_context(_http(each.port, sockets.get(name)))
            crowds[name] = [Person(http, f"100.64.1.{number + 1}") for number in range(people)]
            await _all(crowds[name], Person.log_in, WARM)
            await _all(crowds[name], Person.go_on, WARM)
        spent: dict[str, list[Spent]] = {name: [] for name in servers}
        for _ in range(rounds):
            for name, each in servers.items():
                costs = [
                    await _cost(each, crowds[name], act, times)
                    for act, times in ((Person.log_in, FLOWS), (Person.go_on, REFRESHES))
                ]
                spent[name].append((costs[0], costs[1]))
    return spent


async def _cost(
    measured: server.Server, crowd: list[Person], act: Callable[[Person], Awaitable[None]], times: int
) -> float:
    before = clock.of_process(measured.pid)
    with clock.on(clock.core(clock.CLIENT_CORE)):
        await _all(crowd, act, times)
    return (clock.of_process(measured.pid) - before) / len(crowd) / times


async def _all(crowd: list[Person], act: Callable[[Person], Awaitable[None]], times: int) -> None:
    async def several(person: Person) -> None:
        for _ in range(times):
            await act(person)

    await asyncio.gather(*(several(person) for person in crowd))


def _http(port: int, socket: Path | None) -> aiohttp.ClientSession:
    """To a server on a port of this machine, or behind a unix socket as `tailscale serve` would reach it."""
    connector = aiohttp.UnixConnector(str(socket), limit=0) if socket else aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector, cookie_jar=aiohttp.DummyCookieJar())
