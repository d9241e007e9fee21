"""A token service with everything around it in memory."""

# ruff: noqa: ANN401 - clients and messages are what their libraries make of them
from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import httpx

from fakes.exchange import FORM, NOW, SETTINGS, SPEC, ec_key, foreign_set, form, jwk, record
from tailseal.domain.bundle.model import HeldKey, Settings, Signing
from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.state.protocol import Mark
from tailseal.tokens.keyset import KeySet
from tailseal.tokens.signers import LocalSigner
from tailseal.upstream.authkeys import AuthKey, KeyWish
from tailseal.upstream.errors import UpstreamError
from tailseal.workers.common.bundle.snapshot import LoadedSigning, Snapshot
from tailseal.workers.common.limits.exchange import Limits
from tailseal.workers.common.outbound.keycache import KeyCache
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.common.telemetry.audit import AuditError
from tailseal.workers.common.telemetry.metrics import Metrics
from tailseal.workers.sts import app

PUBLISHED = {"keys": [jwk(ec_key("ours"), "k1", "ES256")]}


def snapshot(settings: Settings = SETTINGS, spec: dict[str, Any] = SPEC, serial: int = 1) -> Snapshot:
    signing = Signing(
        issuer=settings.issuer,
        held=(HeldKey(kid="k1", alg="ES256", file="k1.pem", sign_until=NOW + 1000),),
        active={"ES256": "k1"},
        default_algorithm="ES256",
        jwks=PUBLISHED,
        max_age=300,
        max_token_ttl=3600,
        status_key="",
    )
    return Snapshot(
        serial=serial,
        signing=LoadedSigning(
            signing,
            {"k1": LocalSigner(ec_key("ours"), "ES256", "k1")},
            {"k1": signing.held[0]},
            json.dumps(PUBLISHED).encode(),
            b"",
            b"",
        ),
        settings=settings,
        index=PolicyIndex([compile_policy(record(spec), settings)]),
        credentials={},
        digests={},
        applied={},
    )


class Upstreams:
    """Gives what it was told to, after letting others run."""

    def __init__(self, error: UpstreamError | None = None) -> None:
        self.error = error
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.keys: list[tuple[str, KeyWish]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """What happens while the first is being asked."""

    async def token(self, _: Snapshot, upstream: str, *, scopes: Sequence[str], tags: Sequence[str]) -> Any:
        self.asked.append((upstream, tuple(scopes)))
        await asyncio.sleep(0)
        if len(self.asked) == 1:
            self.meanwhile()
        if self.error:
            raise self.error
        return SimpleNamespace(access_token=f"tskey-for-{'+'.join(scopes)}", expires_in=3600, scopes=tuple(scopes))

    async def key(self, _: Snapshot, upstream: str, wish: KeyWish) -> AuthKey:
        self.keys.append((upstream, wish))
        await asyncio.sleep(0)
        if len(self.keys) == 1:
            self.meanwhile()
        if self.error:
            raise self.error
        return AuthKey(f"tskey-auth-for-{'+'.join(wish.tags)}", wish.expiry)


class AuditLog:
    """Keeps of each event what the core said, flat, and what varies with the machine apart."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.lines: list[dict[str, object]] = []
        self.broken = False

    def write(self, event: Mapping[str, Any]) -> None:
        if self.broken:
            raise AuditError("nobody reads")
        self.events.append(event)
        data = {name: value for name, value in event["data"].items() if name != "latencySeconds"}
        self.lines.append({"decision": event["id"], "result": event["type"].rpartition(".")[2], **data})


class Marks:
    """A store of what counts once, without an end."""

    def __init__(self) -> None:
        self.marks: dict[bytes, float] = {}

    async def claim(self, marks: Sequence[Mark]) -> bool:
        if any(digest in self.marks for digest, _ in marks):
            return False
        self.marks.update(marks)
        return True


class House:
    """A worker's runtime with everything around it in memory."""

    def __init__(self) -> None:
        self.current: Snapshot | None = snapshot()
        self.withheld: str | None = None
        self.now = NOW
        self.audit = AuditLog()
        self.upstreams = Upstreams()
        self.fetched: list[KeySource] = []
        self.fetch: Callable[[KeySource], Awaitable[KeySet]] = self._fetch
        self.metrics = Metrics()
        self.limits = Limits(lambda: self.now)
        self.ids = 0

    async def _fetch(self, source: KeySource) -> KeySet:
        self.fetched.append(source)
        await asyncio.sleep(0)
        return foreign_set()

    def _id(self) -> str:
        self.ids += 1
        return f"d{self.ids}"

    def runtime(self) -> Runtime:
        async def fetch(source: KeySource) -> KeySet:
            return await self.fetch(source)

        self.made = Runtime(
            component="sts",
            current=lambda: self.current,
            withheld=lambda: self.withheld,
            keys=KeyCache(fetch, clock=lambda: self.now, monotonic=lambda: self.now),
            upstreams=self.upstreams,
            audit=self.audit,  # type: ignore[arg-type]
            metrics=self.metrics,
            clock=lambda: self.now,
            decision_id=self._id,
            limits=self.limits,
        )
        return self.made

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app.build(self.runtime()), client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://sts") as client:
            yield client


async def post(client: httpx.AsyncClient, body: bytes | None = None, **headers: str) -> httpx.Response:
    content = form() if body is None else body
    return await client.post("/token", content=content, headers={"content-type": FORM} | headers)
