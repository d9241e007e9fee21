"""Copies of key set and metadata in object stores."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from tailseal.api.base import ApiModel, exactly_one
from tailseal.api.durations import Duration, between
from tailseal.api.fields import DnsLabel, HttpsURL, SecretRef


class ObjectStore(ApiModel):
    """A bucket that speaks S3."""

    bucket: Annotated[str, StringConstraints(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]+$")]
    """Name of the bucket."""
    key: Annotated[str, StringConstraints(max_length=512, pattern=r"^[A-Za-z0-9._~/-]*$")] | None = None
    """Prefix of the objects' keys; left out, none."""
    region: DnsLabel | None = None
    """Region of the bucket."""
    endpoint: HttpsURL | None = None
    """Where the store is; left out, AWS."""
    force_path_style: bool | None = None
    """Name the bucket in the path, not in the host; off if left out."""
    credentials_secret_ref: SecretRef | None = None
    """Secret with `access_key_id` and `secret_access_key`; left out, the standard chain of credentials."""


class Publish(ApiModel):
    """One place where key set and metadata are copied to."""

    rules: ClassVar = (exactly_one("object_store"), between("cache_ttl", 0, 86_400))

    name: DnsLabel
    """Name of this entry."""
    object_store: ObjectStore | None = None
    """A bucket that speaks S3."""
    public_url: HttpsURL
    """Where the copy is read from, which is also how it is checked."""
    cache_ttl: Duration | None = None
    """How long caches in front of it keep it; left out, the SigningKey's `jwks.maxAge`."""
    role: Literal["Evidence", "Copy"] | None = None
    """Evidence (if left out): a new key must be seen here before it signs. Copy: nothing waits for it."""
