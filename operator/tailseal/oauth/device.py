"""Devices without a browser (RFC 8628): a code that a person types elsewhere, and what the device learns of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

import orjson

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import credentials
from tailseal.oauth.errors import OAuthError
from tailseal.state.grants import Family, Kind, Record

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:device_code"

SECONDS: Final = 600
"""How long a person has to type the code."""

KEPT: Final = 600
"""Seconds for which an expired code is still known, so that its device learns that it has expired."""

INTERVAL: Final = 5
"""Seconds between two polls, and what a device that is too fast has to add (section 3.5)."""

RANDOM_BYTES: Final = 16
"""Of what a user code is drawn from: far more than it holds, so that all letters are as likely."""

ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words; no digits, so nothing to mistake for a letter (section 6.1)."""

_LETTERS: Final = 8
_TYPED: Final = 64
_BETWEEN: Final = re.compile(r"[\W_]")

State = Literal["pending", "approved", "denied"]


@dataclass(frozen=True, slots=True)
class Device:
    """What became of a device's wish.

    Args:
        client: object uid of the client.
        client_id: of the client.
        scopes: asked for.
        resources: asked for.
        expires_at: Unix seconds: until when it can be approved, and its code used.
        interval: seconds between two polls.
        polled_at: Unix seconds of the last poll.
        state: what a person said.
    """

    client: str
    client_id: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    expires_at: float
    interval: int = INTERVAL
    polled_at: float = 0.0
    state: State = "pending"

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, content: bytes) -> Device:
        """As it was kept."""
        found = orjson.loads(content)
        return cls(**found | {"scopes": tuple(found["scopes"]), "resources": tuple(found["resources"])})


def user_code(random: bytes) -> str:
    """A code to type, e.g. `WDJB-MJHT`: 20^8, some 34 bits."""
    number, letters = int.from_bytes(random), ""
    for _ in range(_LETTERS):
        number, rest = divmod(number, len(ALPHABET))
        letters += ALPHABET[rest]
    return f"{letters[:4]}-{letters[4:]}"


def typed(text: str) -> str:
    """What somebody typed, as a user code is written: case, blanks and dashes make no difference; empty: it is none."""
    letters = _BETWEEN.sub("", text[:_TYPED].upper())
    right = len(letters) == _LETTERS and set(letters) <= set(ALPHABET)
    return f"{letters[:4]}-{letters[4:]}" if right else ""


def records(device: Device, device_code: str, code: str) -> tuple[Record, Record]:
    """What is kept: the device's state, and the way to it from what a person types."""
    digest = credentials.digest(device_code)
    return (
        Record(Kind.DEVICE, digest, device.to_bytes(), device.expires_at + KEPT),
        Record(Kind.USER_CODE, credentials.digest(code), digest, device.expires_at),
    )


def answer(issuer: str, device_code: str, code: str) -> Mapping[str, object]:
    """What the device is told (section 3.2)."""
    page = issuer.rstrip("/") + "/device"
    return {
        "device_code": device_code,
        "user_code": code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={code}",
        "expires_in": SECONDS,
        "interval": INTERVAL,
    }


def may_ask(client: CompiledClient) -> None:
    """Whether the client may have device codes.

    Raises:
        OAuthError: `unauthorized_client`.
    """
    if GRANT_TYPE not in client.grant_types:
        raise OAuthError("unauthorized_client", "the client is not registered for the device code grant")


def settled(record: Record, family: Family | None) -> Record:
    """What is kept once a person has said yes, with what they gave, or no."""
    found = replace(Device.from_bytes(record.content), state="denied" if family is None else "approved")
    given = family.id if family is not None else b""
    return replace(record, content=found.to_bytes(), family=given)


def kept(record: Record, found: Device) -> Record:
    """What is kept after a poll."""
    return replace(record, content=found.to_bytes())


def polled(device: Device, client: CompiledClient, now: float) -> tuple[Device, OAuthError | None]:
    """What a poll comes to: the state to keep, and the refusal; None: the code may be used.

    Args:
        device: as kept.
        client: who polls.
        now: Unix seconds.

    Raises:
        OAuthError: `invalid_grant`: the code is another client's.
    """
    if device.client != client.uid:
        raise OAuthError("invalid_grant", "the device code is not one of this client's")
    if now >= device.expires_at:
        return device, OAuthError("expired_token", "the device code has expired: begin anew")
    if device.state == "denied":
        return device, OAuthError("access_denied", "the request was denied")
    if device.state == "approved":
        return device, None
    if now - device.polled_at < device.interval:
        slower = replace(device, polled_at=now, interval=device.interval + INTERVAL)
        return slower, OAuthError("slow_down", "the device asks too often: wait five seconds more between two times")
    return replace(device, polled_at=now), OAuthError("authorization_pending", "nobody has said yes or no yet")
