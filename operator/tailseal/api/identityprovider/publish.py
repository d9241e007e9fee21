"""Copies of key set and metadata in object stores."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from tailseal.api.base import ApiModel, Rule, exactly_one
from tailseal.api.durations import Duration, between
from tailseal.api.fields import DnsLabel, HttpsURL, SecretRef

_NO_PATH = 3
"""Parts of `https://host` between slashes."""


class ObjectStore(ApiModel):
    """A bucket that speaks S3."""

    rules: ClassVar = (
        Rule(
            cel="!self.bucket.contains('.') || (has(self.forcePathStyle) && self.forcePathStyle)",
            message="a bucket with a dot in its name needs forcePathStyle: true, as no certificate covers its host",
            holds=lambda self: "." not in self.bucket or bool(self.force_path_style),
        ),
        Rule(
            cel="!has(self.endpoint) || self.endpoint.split('/').size() == 3",
            message="endpoint must be https://HOST or https://HOST:PORT, without a path",
            holds=lambda self: self.endpoint is None or len(self.endpoint.split("/")) == _NO_PATH,
        ),
    )

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
    """Secret with `access_key_id` and `secret_access_key`, perhaps `session_token`; left out, the operator's own
    identity by the standard chain, where the installation opens it to this namespace."""


class Probe(ApiModel):
    """Nothing is written: something else brings the keys there, such as a gateway before the workers."""


class Publish(ApiModel):
    """One place where key set and metadata are copied to."""

    rules: ClassVar = (
        exactly_one("object_store", "probe"),
        between("cache_ttl", 0, 86_400),
        Rule(
            cel="!self.publicURL.contains('?')",
            message="publicURL must have no query: /.well-known/jwks.json is put at its end",
            holds=lambda self: "?" not in self.public_url,
        ),
        Rule(
            cel="!has(self.discovery) || has(self.objectStore)",
            message="discovery is written to an objectStore only",
            holds=lambda self: self.discovery is None or self.object_store is not None,
        ),
    )

    name: DnsLabel
    """Name of this entry."""
    object_store: ObjectStore | None = None
    """A bucket that speaks S3."""
    probe: Probe | None = None
    """Nothing is written, only looked at: how the workers' own keys reach verifiers outside."""
    public_url: HttpsURL
    """Where the copy is read from, which is also how it is checked: `<publicURL>/.well-known/jwks.json`, without any
    credentials."""
    discovery: bool | None = None
    """Write a discovery document beside the key set; left out, only where publicURL is the issuer."""
    cache_ttl: Duration | None = None
    """How long caches in front of it keep it; left out, the SigningKey's `jwks.maxAge`."""
    role: Literal["Evidence", "Copy"] | None = None
    """Evidence (if left out): a new key must be seen here before it signs. Copy: nothing waits for it."""


class PublishStatus(ApiModel):
    """What was seen of one place."""

    name: Annotated[str, StringConstraints(max_length=80)]
    """Name of the entry; of one that was taken out of the spec, with the suffix ` (former)`."""
    status: Literal["True", "False", "Unknown"]
    """Whether readers get exactly the keys that are promised."""
    reason: Annotated[str, StringConstraints(max_length=64)]
    """A word for programs."""
    message: Annotated[str, StringConstraints(max_length=1024)]
    """For people."""
