"""Buckets in memory, with whatever goes wrong on the way to them, and the readers before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tailseal.domain.publishing.store import Bucket, Held, StoreError, StoreReason


@dataclass
class FakeBuckets:
    """The port `Outside`.

    `objects` holds what is there by (bucket, key); `hosts` which bucket a public host shows; `calls` every call.
    `trouble` is asked before and after each one ("get", "put", "put done", "read") and may raise.
    """

    objects: dict[tuple[str, str], Held] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    trouble: Callable[[str, str], None] = lambda _what, _where: None
    credentials: list[Bucket] = field(default_factory=list)
    versions: int = 0

    def store(self, bucket: Bucket) -> FakeBucket:
        self.credentials.append(bucket)
        return FakeBucket(self, bucket.bucket)

    async def read(self, url: str) -> bytes:
        self._call("read", url)
        parts = urlsplit(url)
        held = self.objects.get((self.hosts.get(parts.hostname or "", ""), parts.path.lstrip("/")))
        if held is None:
            raise StoreError(StoreReason.UNREACHABLE, f"{url} answers with status 404")
        return held.body

    def user_put(self, bucket: str, key: str, body: bytes) -> None:
        """Somebody writes the object, without asking anybody."""
        self.versions += 1
        former = self.objects.get((bucket, key), Held(b"", "", "text/plain", ""))
        self.objects[bucket, key] = replace(former, body=body, etag=f'"{self.versions}"')

    def _call(self, what: str, where: str) -> None:
        self.calls.append(what)
        self.trouble(what, where)


@dataclass
class FakeBucket:
    """One of them."""

    all: FakeBuckets
    name: str

    async def get(self, key: str, *, known: Held | None = None) -> Held | None:
        self.all._call("get", f"{self.name}/{key}")
        held = self.all.objects.get((self.name, key))
        return known if known and held and held.etag == known.etag else held

    async def put(self, key: str, held: Held, *, over: Held | None) -> None:
        self.all._call("put", f"{self.name}/{key}")
        present = self.all.objects.get((self.name, key))
        if (present.etag if present else None) != (over.etag if over else None):
            raise StoreError(StoreReason.CHANGED, "somebody else was first")
        self.all.versions += 1
        self.all.objects[self.name, key] = replace(held, etag=f'"{self.all.versions}"')
        self.all._call("put done", f"{self.name}/{key}")
