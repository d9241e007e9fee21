"""The port to a place that a key set is published at, and to what an anonymous reader of it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class StoreReason(StrEnum):
    """Why a store did not do what it was asked to: stable words."""

    REFUSED = "AddressRefused"
    UNREACHABLE = "StoreUnreachable"
    DENIED = "StoreForbidden"
    CHANGED = "StoreChanged"
    FAULT = "StoreFault"


class StoreError(Exception):
    """A store, or the way to it, failed.

    Args:
        reason: the stable word.
        message: what and where, in our words: what a store says may repeat credentials.
    """

    def __init__(self, reason: StoreReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is.

    Args:
        bucket: its name.
        region: of the bucket; empty: the default.
        endpoint: https URL of the store; empty: AWS.
        path_style: name the bucket in the path, not in the host.
        credentials: `access_key_id`, `secret_access_key` and perhaps `session_token`; None: the standard chain.
    """

    bucket: str
    region: str = ""
    endpoint: str = ""
    path_style: bool = False
    credentials: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """An object as it is there.

    Args:
        body: its content.
        etag: its version.
        content_type: as readers get it; empty if unknown.
        cache_control: as readers get it; empty if there is none.
    """

    body: bytes
    etag: str
    content_type: str = ""
    cache_control: str = ""


class ObjectStore(Protocol):
    """One bucket."""

    async def get(self, key: str, *, known: Held | None = None) -> Held | None:
        """The object; `known` itself if it is still that version; None only if it was seen not to exist.

        Raises:
            StoreError: anything else.
        """
        ...

    async def put(self, key: str, held: Held, *, over: Held | None) -> None:
        """Write the object over exactly that version; over None: only where there is none.

        Raises:
            StoreError: `CHANGED` if it is at another version by now; after any other it may be written all the same.
        """
        ...


class Nowhere:
    """The port `Outside` of who reaches nothing."""

    def store(self, bucket: Bucket) -> ObjectStore:
        """There is none."""
        raise StoreError(StoreReason.UNREACHABLE, f"bucket {bucket.bucket} is out of reach")

    async def read(self, url: str) -> bytes:
        """There is nothing."""
        raise StoreError(StoreReason.UNREACHABLE, f"{url} is out of reach")


class Outside(Protocol):
    """What the operator reaches beyond the cluster."""

    def store(self, bucket: Bucket) -> ObjectStore:
        """The bucket; nothing is asked of it yet."""
        ...

    async def read(self, url: str) -> bytes:
        """What an anonymous reader gets.

        Raises:
            StoreError: no answer, or none with status 200.
        """
        ...
