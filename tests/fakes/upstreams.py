"""Upstreams of a snapshot, with the fake API in the place of the guarded client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode, urlsplit

from fakes.exchange import NOW, SETTINGS
from fakes.sts import PUBLISHED, snapshot
from fakes.tailscale import CLIENT_ID, FEDERATED_ID, HEADSCALE_KEY, SECRET, Identity, Reply, Tailscale
from tailseal.domain.bundle.model import HeadscaleUpstream, TailscaleUpstream, Upstream, WorkloadIdentity
from tailseal.egress.errors import EgressError, EgressReason
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.outbound.upstreams import TailscaleUpstreams
from tailseal.workers.common.telemetry.metrics import Metrics

API = "https://ts.example"
IDENTITY = WorkloadIdentity(
    client_id=FEDERATED_ID,
    audience=f"api.tailscale.com/{FEDERATED_ID}",
    scopes=("devices:core", "auth_keys"),
    tags=("tag:ci", "tag:test"),
)
UPSTREAMS = (
    Upstream(name="prod", tailscale=TailscaleUpstream(api_url=API, credential="prod")),
    Upstream(name="wif", tailscale=TailscaleUpstream(api_url=API, workload_identity=IDENTITY)),
    Upstream(name="hs", headscale=HeadscaleUpstream(api_url=API, credential="hs")),
)
FILES = {
    "prod.client_id": CLIENT_ID.encode(),
    "prod.client_secret": SECRET.encode() + b"\n",
    "hs.api_key": HEADSCALE_KEY.encode(),
}


class World:
    """The fake API as the guarded client reaches it, and the upstreams that use it."""

    def __init__(self) -> None:
        self.api = Tailscale(now=NOW)
        self.api.identity = Identity(
            SETTINGS.issuer,
            "tailseal:upstream:wif",
            IDENTITY.audience,
            PUBLISHED,
            IDENTITY.scopes,
            IDENTITY.tags,
        )
        self.failing: list[EgressReason | Reply | None] = []
        """What the next requests come to instead."""
        self.sent = 0
        self.current: Snapshot | None = None
        self.ticks = 0.0
        self.metrics = Metrics()
        self.upstreams = TailscaleUpstreams(
            self._egress,  # type: ignore[arg-type]
            self.metrics,
            current=lambda: self.current,
            clock=lambda: NOW,
            ticks=lambda: self.ticks,
        )

    def snapshot(self, **credentials: bytes | None) -> Snapshot:
        files = {name: content for name, content in {**FILES, **credentials}.items() if content is not None}
        return replace(snapshot(SETTINGS.model_copy(update={"upstreams": UPSTREAMS})), credentials=files)

    async def _egress(self) -> World:
        return self

    async def post_form(self, url: str, fields: Mapping[str, str]) -> Reply:
        return await self.post(url, urlencode(fields).encode(), headers={})

    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str]) -> Reply:
        self.sent += 1
        await asyncio.sleep(0)
        failure = self.failing.pop(0) if self.failing else None
        if isinstance(failure, Reply):
            return failure
        if failure is not None:
            raise EgressError(failure, "a text that nobody is told")
        assert url.startswith(API)
        return self.api.handle(urlsplit(url).path, headers, body)
