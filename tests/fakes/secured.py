"""An application behind TLS on this machine that an identity provider's worker, which listens too, asks and tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fakes import idp, relying
from fakes.idp import Browser, Provider
from fakes.worker import LOOPBACK
from tailseal.domain.bundle.model import ClientRecord
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.worker import Place
from tailseal_dev.pki import Authority
from tailseal_dev.ports import free_ports

HOST: Final = "localhost"


@dataclass
class Application:
    """What it serves, and what it was asked and told.

    Args:
        base: its URL.
        ca: PEM certificate of who vouches for it.
        documents: by path; another path is not there.
        asked: paths of documents that were fetched.
        told: content type and form of each logout that it was told of.
    """

    base: str
    ca: str
    documents: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    told: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def give(self, request: Request) -> Response:
        """A document."""
        path = request.url.path
        self.asked.append(path)
        if path not in self.documents:
            return Response(status_code=404)
        headers = {"cache-control": "max-age=600"}
        return Response(json.dumps(self.documents[path]), media_type="application/json", headers=headers)

    async def hear(self, request: Request) -> Response:
        """Of a logout."""
        fields = dict(parse_qsl((await request.body()).decode(), strict_parsing=True))
        self.told.append((request.headers["content-type"], fields))
        return Response(status_code=204)


@contextmanager
def application(folder: Path) -> Iterator[Application]:
    """It listens, with a certificate for every name of this machine.

    Args:
        folder: for its certificate and key.
    """
    (port,), authority = free_ports(1), Authority()
    pair = authority.server().write(folder / "tls", "application")
    made = Application(f"https://{HOST}:{port}", authority.certificate.decode())
    routes = [Route("/told", made.hear, methods=["POST"]), Route("/{path:path}", made.give)]
    with relying.running(Starlette(routes=routes), port, tls=pair):
        yield made


@asynccontextmanager
async def provider(folder: Path, web: Application, *records: ClientRecord, **changes: Any) -> AsyncIterator[Provider]:  # noqa: ANN401
    """A provider whose worker listens on this machine, and whose way out leads to the application and nowhere else."""
    (port,) = free_ports(1)
    base = f"http://127.0.0.1:{port}"
    more = {"issuer": base, "token_endpoint": f"{base}/token", "open_hosts": (HOST,), "extra_ca": web.ca} | changes
    async with idp.running(folder, *records, **more) as made:
        stop, started = asyncio.Event(), asyncio.Event()
        place = Place(Address("127.0.0.1", port), LOOPBACK)
        running = asyncio.create_task(
            made.worker.run(made.app, place, stop=stop, started=lambda *_: started.set()),
        )
        begun = asyncio.create_task(started.wait())
        try:
            await asyncio.wait([running, begun], return_when=asyncio.FIRST_COMPLETED)
            assert begun.done(), "the worker ended"
            yield made
        finally:
            stop.set()
            begun.cancel()
            await running


@asynccontextmanager
async def browser(provider: Provider, name: str = "ana") -> AsyncIterator[Browser]:
    """Of a person by name, over the network."""
    forwarded = {"x-forwarded-for": str(idp.PEOPLE[name].node.addresses[0])}
    async with httpx.AsyncClient(base_url=provider.issuer, headers=forwarded, trust_env=False) as client:
        yield Browser(client)
