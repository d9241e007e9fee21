"""Types of single fields that several kinds share: every string says how long it may be and what it may hold."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tailseal.api.base import ApiModel

LOOPBACK: Final = "loopback"
"""Key of the validation context under which http to this machine is allowed: no API server, `tailseal serve`."""

_HTTPS: Final = r"^https://[^\s/?#@]+(/[^\s#]*)?$"
_ISSUER: Final = r"^https://[^\s/?#@]+(/[^\s?#]*)?$"
_OWN_ISSUER: Final = r"^https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$"
_LOOPBACK_HOST: Final = re.compile(r"http://(127\.0\.0\.1|localhost)(?=[:/]|$)")


def loopback_issuer_allowed(url: str) -> bool:
    """Whether the URL is plain http to this very machine, which only `tailseal serve` accepts."""
    return _LOOPBACK_HOST.match(url) is not None


def _url(pattern: str, right: str) -> AfterValidator:
    expression = re.compile(pattern.replace("$", r"\Z"))

    def check(value: str, info: ValidationInfo) -> str:
        seen = value
        if info.context and info.context.get(LOOPBACK) and loopback_issuer_allowed(value):
            seen = "https" + value.removeprefix("http")
        if not expression.match(seen):
            raise PydanticCustomError("url", "must be {right}", {"right": right})
        return value

    return AfterValidator(check)


HttpsURL = Annotated[
    str,
    _url(_HTTPS, "an https:// URL without user, fragment or blanks"),
    Field(max_length=512, json_schema_extra={"pattern": _HTTPS}),
]
"""Where something is fetched from or served at."""

ForeignIssuer = Annotated[
    str,
    _url(_ISSUER, "an https:// URL without user, query, fragment or blanks"),
    Field(max_length=512, json_schema_extra={"pattern": _ISSUER}),
]
"""The `iss` of somebody else's tokens, compared byte by byte."""

OwnIssuer = Annotated[
    str,
    _url(_OWN_ISSUER, "an https:// URL with a lower-case host, without query, fragment or trailing slash"),
    Field(max_length=255, json_schema_extra={"pattern": _OWN_ISSUER}),
]
"""The `iss` of our tokens, in the one form that every verifier compares equal."""

DnsLabel = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A name as namespaces and Services have it (RFC 1123 label)."""

ObjectName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""A name as most objects have it (RFC 1123 subdomain)."""

Visible = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
"""Visible ASCII without blanks."""

Audience = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
"""A value of `aud` (RFC 7519 StringOrURI, without blanks)."""

Scope = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[!#-\[\]-~]+$")]
"""A scope-token (RFC 6749 section 3.3)."""

TailscaleTag = Annotated[str, StringConstraints(max_length=64, pattern=r"^tag:[A-Za-z][A-Za-z0-9-]*$")]
"""An ACL tag, with its `tag:`."""

Capability = Annotated[str, StringConstraints(max_length=128, pattern=r"^[a-z0-9.-]+\.[a-z]+/[A-Za-z0-9._/-]+$")]
"""Name of an app capability: `{domain}/{path}`."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""Any short text."""

Certificates = Annotated[str, StringConstraints(max_length=16384, pattern=r"^\s*-----BEGIN CERTIFICATE-----[\s\S]+$")]
"""CA certificates as PEM."""

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]

_QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?([eE][0-9]{1,2}|m|[kMGTPE]|[KMGTPE]i)?$"


def _quantity(value: Any) -> Any:  # noqa: ANN401 - whatever a manifest holds
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    StringConstraints(max_length=32, pattern=_QUANTITY),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 32,
            "pattern": _QUANTITY,
        }
    ),
]
"""An amount such as `250m`, `1`, `128Mi`."""


class SecretRef(ApiModel):
    """A Secret in the same namespace. We read it only if it carries the label `tailseal.dev/allow: "true"`."""

    name: ObjectName
    """Name of the Secret."""
