"""A decision about an exchange as an event (CloudEvents 1.0, JSON format): what the audit log has one line of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from tailseal.domain.bundle.model import Settings

TYPE: Final = "dev.tailseal.exchange."
"""What the result follows in an event's type: `granted`, `refused` or `error`."""


class Origin(NamedTuple):
    """Where decisions are taken.

    Args:
        source: URI reference of issuer and component, the same for all replicas.
        endpoint: `token` or another fixed word.
        provider: `namespace/name` of the IdentityProvider; empty before there is a bundle.
    """

    source: str
    endpoint: str
    provider: str = ""


def origin(component: str, endpoint: str, settings: Settings | None) -> Origin:
    """Where decisions are taken.

    Args:
        component: `sts`, `idp` or `serve`.
        endpoint: `token` or another fixed word.
        settings: of the provider, once there is a bundle.
    """
    if settings is None:
        return Origin(f"#{component}", endpoint)
    return Origin(f"{settings.issuer}#{component}", endpoint, f"{settings.namespace}/{settings.name}")


def event(fields: Mapping[str, Any], place: Origin, seconds: float) -> dict[str, Any]:
    """The event of one decision.

    Args:
        fields: what the core says of it, `time` (Unix seconds), `decision` and `result` at least.
        place: where it was taken.
        seconds: since the request was complete.
    """
    data = dict(fields)
    found: dict[str, Any] = {
        "specversion": "1.0",
        "id": data.pop("decision"),
        "source": place.source,
        "type": TYPE + data.pop("result"),
        "time": datetime.fromtimestamp(data.pop("time"), UTC),
        "datacontenttype": "application/json",
        "data": data,
    }
    if "subject" in data:
        found["subject"] = data.pop("subject")
    data["provider"] = place.provider
    data["endpoint"] = place.endpoint
    data["latencySeconds"] = round(seconds, 6)
    return found
