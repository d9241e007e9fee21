"""The way to PostgreSQL is encrypted and checked as the URL says, for the name in it, whatever the address."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence

import pytest
import uvloop

from fakes.stores import PATIENCE
from tailseal.state.postgres import PostgresStore
from tailseal.state.postgres.connect import Connector
from tailseal.state.protocol import StateUnavailable
from tailseal.state.url import DatabaseURL
from tailseal_dev.pki import Authority
from tailseal_dev.postgres import PASSWORD, PostgresServer

OURS, FOREIGN = Authority("ours"), Authority("foreign")


@pytest.fixture(scope="module")
def encrypted(postgres: PostgresServer) -> Iterator[PostgresServer]:
    pair = OURS.server(["db.example"])
    files = {"ssl": "on", "ssl_cert_file": "../server.crt", "ssl_key_file": "../server.key"}
    server = PostgresServer(files)
    server.file("server.crt", pair.certificate.decode())
    server.file("server.key", pair.key.decode())
    with server:
        yield server


async def here(_: str) -> Sequence[str]:
    return ("127.0.0.1",)


async def _claim(url: str, authorities: str) -> bool:
    store = PostgresStore(Connector(DatabaseURL.parse(url), authorities, here), patience=PATIENCE)
    try:
        return await store.claim([(os.urandom(32), time.time() + 600)])
    finally:
        await store.aclose()


def claim(port: int, host: str, query: str, authority: Authority | None) -> bool:
    url = f"postgresql://tailseal:{PASSWORD}@{host}:{port}/postgres{query}"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_claim(url, authority.certificate.decode() if authority else ""))


@pytest.mark.parametrize(
    ("host", "query", "authority"),
    [
        ("db.example", "", OURS),
        ("db.example", "?sslmode=verify-full", OURS),
        ("other.example", "?sslmode=verify-ca", OURS),
        ("other.example", "?sslmode=require", FOREIGN),
        ("other.example", "?sslmode=disable", None),
    ],
)
def test_a_server_that_passes_the_url_s_check_is_used(
    encrypted: PostgresServer, host: str, query: str, authority: Authority | None
) -> None:
    assert claim(encrypted.port, host, query, authority)


@pytest.mark.parametrize(
    ("host", "query", "authority"),
    [
        ("other.example", "", OURS),
        ("db.example", "", FOREIGN),
        ("db.example", "?sslmode=verify-full", None),
        ("127.0.0.1", "?sslmode=verify-full", OURS),
        ("db.example", "?sslmode=verify-ca", FOREIGN),
    ],
)
def test_a_server_that_fails_the_url_s_check_is_told_nothing(
    encrypted: PostgresServer, host: str, query: str, authority: Authority | None
) -> None:
    with pytest.raises(StateUnavailable, match="no connection: SSLCertVerificationError"):
        claim(encrypted.port, host, query, authority)


@pytest.mark.parametrize("query", ["", "?sslmode=require"])
def test_a_server_without_encryption_is_told_nothing_where_the_url_wants_it(
    postgres: PostgresServer, query: str
) -> None:
    with pytest.raises(StateUnavailable, match="no connection: ConnectionError"):
        claim(postgres.port, "db.example", query, OURS)
