"""Clients whose id is the URL of a document about them: fetched by the guarded client, once for all, and kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fakes import idp, oauthclients
from tailseal.domain.bundle.model import Introductions
from tailseal.egress.client import Answer
from tailseal.egress.errors import EgressError, EgressReason
from tailseal.oauth import clientmetadata
from tailseal.workers.idp.known import AT_ONCE, PAUSE, KnownClients

URL = "https://app.example/client.json"
DOCUMENT = {"client_id": URL, "client_name": "App", "redirect_uris": [idp.CALLBACK]}


class Web:
    """Answers each URL with one document, or not at all.

    Args:
        body: of the document.
        status: of the answer.
        cache: header Cache-Control.
    """

    def __init__(self, body: object = DOCUMENT, status: int = 200, cache: str = "max-age=600") -> None:
        self.answer = Answer(status, {"cache-control": cache}, json.dumps(body).encode())
        self.asked: list[str] = []
        self.broken = False

    async def __call__(self) -> Any:  # noqa: ANN401 - what an Egress does here
        return self

    async def get(self, url: str) -> Answer:
        self.asked.append(url)
        await asyncio.sleep(0)
        if self.broken:
            raise EgressError(EgressReason.REDIRECT, "elsewhere")
        return self.answer


class Known:
    """Clients of a provider that takes documents of one host."""

    def __init__(self, provider: idp.Provider, web: Web) -> None:
        self.now, self.web = 0.0, web
        self.find = KnownClients(
            lambda: provider.worker.loader.snapshot, provider.worker.state, web, clock=lambda: self.now
        )


@pytest.fixture
async def known(tmp_path: Path) -> Any:  # noqa: ANN401 - an async fixture
    hosts = Introductions(metadata_hosts=("app.example",))
    record = oauthclients.record("api", resources=["https://api.example"])
    async with idp.running(tmp_path, record, introductions=hosts) as provider:
        yield Known(provider, Web())


async def test_a_document_is_fetched_once_for_all_who_ask(known: Known) -> None:
    found = await asyncio.gather(*(known.find(URL) for _ in range(20)))
    assert len(known.web.asked) == 1
    client = found[0]
    assert client is not None
    assert client.name == "App"
    assert client.audiences == {"https://api.example"}
    known.now = 599
    assert await known.find(URL) is not None
    assert len(known.web.asked) == 1
    known.now = 601
    await known.find(URL)
    assert len(known.web.asked) == 2


async def test_documents_of_other_hosts_are_never_fetched(known: Known) -> None:
    for url in ("https://evil.example/c", "http://app.example/c", "https://app.example", "https://app.example@evil/c"):
        assert await known.find(url) is None
    assert known.web.asked == []


@pytest.mark.parametrize("body", [{}, {**DOCUMENT, "client_id": "https://app.example/other"}, [], "x" * 20_000])
async def test_what_is_no_client_is_asked_for_seldom(known: Known, body: object) -> None:
    known.web.answer = Web(body).answer
    for _ in range(5):
        assert await known.find(URL) is None
    assert len(known.web.asked) == 1
    known.now = PAUSE + 1
    known.web.answer = Web().answer
    assert await known.find(URL) is not None


@pytest.mark.parametrize("status", [301, 404, 500])
async def test_an_error_is_no_client(known: Known, status: int) -> None:
    known.web.answer = Web(status=status).answer
    assert await known.find(URL) is None


async def test_a_redirect_is_no_client(known: Known) -> None:
    known.web.broken = True
    assert await known.find(URL) is None


async def test_strangers_make_us_fetch_a_few_at_a_time(known: Known) -> None:
    urls = [f"{URL}?{number}" for number in range(3 * AT_ONCE)]
    found = await asyncio.gather(*(known.find(url) for url in urls), return_exceptions=True)
    assert sum(isinstance(each, Exception) for each in found) == 2 * AT_ONCE
    assert len(known.web.asked) == AT_ONCE


async def test_a_document_counts_no_longer_than_a_day(known: Known) -> None:
    known.web.answer = Web(cache="max-age=99999999").answer
    assert await known.find(URL) is not None
    known.now = clientmetadata.LONGEST + 1
    await known.find(URL)
    assert len(known.web.asked) == 2
