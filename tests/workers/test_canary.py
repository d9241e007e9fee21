"""No secret leaves a worker: canaries in keys, credentials, tokens and broken files, sought in all that it says."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import httpx
import pytest

from fakes import bundles, exchange
from fakes.worker import Running, content, form, inline, running, until
from tailseal.domain import canonical, poll
from tailseal.domain.bundle.model import MANIFEST_FILE, SIGNING_FILE, Upstream
from tailseal.workers.common.bundle.source import MemorySource

CANARIES = (
    bundles.SECRET,
    bundles.signing()[SIGNING_FILE].decode().partition('"statusKey":"')[2].partition('"')[0],
    *(line for line in bundles.pem("k1").decode().splitlines() if "-----" not in line),
    exchange.token().rpartition(".")[2][:20],
    exchange.token().split(".")[1][:40],
)


def with_upstream() -> MemorySource:
    """A bundle whose policy grants a token of an upstream that is out of reach."""
    tailscale = {"apiUrl": "https://127.0.0.1:1", "credential": "prod"}
    upstream = Upstream.model_validate({"name": "prod", "tailscale": tailscale})
    settings = exchange.SETTINGS.model_copy(update={"upstreams": (upstream,)})
    grant = {"name": "api", "tailscale": {"upstream": "prod", "scopes": ["devices:core:read"]}}
    return bundles.source(
        None,
        bundles.policies(exchange.record(inline() | {"grants": [grant]}), settings=settings),
        {"prod.client_id": b"id", "prod.client_secret": bundles.SECRET.encode()},
    )


async def asked(client: httpx.AsyncClient, worker: Running) -> list[str]:
    """What callers are told: by the upstream's outage, for a scope too wide, for a forged token."""
    requests: tuple[dict[str, str], ...] = (
        {},
        {"scope": "devices:core"},
        {"subject_token": exchange.token() + "x"},
    )
    return [(await client.post(f"{worker.public}/token", data=form(**fields))).text for fields in requests]


async def corrupted(source: MemorySource, worker: Running) -> None:
    """Every file that holds a secret, broken so that an error could quote it."""
    signing = bundles.signing("k2") | {"k2.pem": b"-----BEGIN PRIVATE KEY-----\n" + bundles.SECRET.encode()}
    source.put("signing", signing)
    source.put("policies", {MANIFEST_FILE: canonical.dumps({"settings": [bundles.SECRET]})})
    await until(lambda: len(worker.worker.loader.problems) > 1)
    source.put("signing", {SIGNING_FILE: canonical.dumps({"statusKey": bundles.SECRET, "held": bundles.SECRET})})
    await until(lambda: worker.worker.loader.problems[0].reason == "SigningCorrupt")


async def inspected(client: httpx.AsyncClient, worker: Running) -> list[str]:
    """What node and operator are told, and what a debugger would print."""
    seen = [(await client.get(worker.private + path)).text for path in ("/readyz", "/metrics")]
    seen.append((await client.post(worker.private + poll.PATH, content=worker.poll())).text)
    return [*seen, repr(worker.worker.loader.snapshot)]


async def test_no_secret_is_in_any_log_metric_status_or_error(
    client: httpx.AsyncClient, audit_file: Path, log: StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    source = with_upstream()
    async with running(source, audit_file) as worker:
        seen = await asked(client, worker)
        await corrupted(source, worker)
        seen += await inspected(client, worker)
    captured = capfd.readouterr()
    everything = "\n".join([*seen, log.getvalue(), content(audit_file), captured.out, captured.err])
    assert "UpstreamUnavailable" in everything  # the upstream was really asked
    assert "SigningCorrupt" in everything
    assert [secret for secret in CANARIES if secret in everything] == []
