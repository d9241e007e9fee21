"""Has one-time keys made with which a node joins the tailnet: at Tailscale's keys API, or at headscale's.

A key is never reusable, always tagged, and preauthorized: who gets it has been approved by a policy already. It says
which decision and policy it was made for, as far as the upstream has room (Tailscale: 50 letters, digits, blanks and
hyphens; headscale up to 0.29: none).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from tailseal.upstream import wire
from tailseal.upstream.errors import UpstreamError, UpstreamReason
from tailseal.upstream.wire import PostJson

SCOPE: Final = "auth_keys"
"""What a token needs to make keys."""

HEADSCALE_PATH: Final = "/api/v1/preauthkey"

_LONGEST_DESCRIPTION: Final = 50
_UNFIT: Final = re.compile(r"[^A-Za-z0-9 -]")


@dataclass(frozen=True, slots=True)
class KeyWish:
    """What a key is to be.

    Args:
        tags: ACL tags of the node; never empty.
        ephemeral: whether the node goes when it is offline.
        expiry: seconds in which the key can be used.
        decision: id of the decision that it is made for.
        policy: id of the policy that allows it.
    """

    tags: tuple[str, ...]
    ephemeral: bool
    expiry: int
    decision: str
    policy: str

    @property
    def description(self) -> str:
        """Decision and policy: the decision's id is whole, since it leads to the audit line with all the rest."""
        text = _UNFIT.sub("-", self.policy.replace("/", " "))
        return f"{self.decision} {text}"[:_LONGEST_DESCRIPTION].rstrip()


@dataclass(frozen=True, slots=True)
class AuthKey:
    """A key: to be handed to the caller and to nobody else."""

    key: str = field(repr=False)
    expires_in: int


async def create(post: PostJson, api_url: str, tailnet: str, token: str, wish: KeyWish) -> AuthKey:
    """A key from `POST /api/v2/tailnet/{tailnet}/keys`, as Tailscale and headscale (0.30) have it.

    Args:
        post: the client.
        api_url: e.g. `https://api.tailscale.com`.
        tailnet: its name, or `-`.
        token: with scope `auth_keys` and the tags; never to be logged.
        wish: what it is to be.

    Raises:
        UpstreamError: see its reasons.
    """
    device = {"reusable": False, "ephemeral": wish.ephemeral, "preauthorized": True, "tags": list(wish.tags)}
    content = {
        "capabilities": {"devices": {"create": device}},
        "expirySeconds": wish.expiry,
        "description": wish.description,
    }
    url = wire.place(api_url, f"/api/v2/tailnet/{quote(tailnet, safe='')}/keys")
    reply = await post(url, content, token)
    if reply.status != wire.OK:
        raise wire.refusal(reply, forbidden=UpstreamReason.SCOPE_REFUSED, rejected=UpstreamReason.SCOPE_REFUSED)
    answer = wire.json_object(reply.body)
    made = _member(_member(answer.get("capabilities"), "devices"), "create")
    return _key(answer.get("key"), _member(made, "reusable"), _member(made, "tags"), wish)


async def create_at_headscale(post: PostJson, api_url: str, api_key: str, wish: KeyWish, now: float) -> AuthKey:
    """A key from headscale's own API, which knows neither scopes nor descriptions; it is no user's, but the tags'.

    Args:
        post: the client.
        api_url: e.g. `https://headscale.corp.example`.
        api_key: of headscale; never to be logged.
        wish: what it is to be.
        now: Unix seconds.

    Raises:
        UpstreamError: see its reasons.
    """
    expiration = datetime.fromtimestamp(now + wish.expiry, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    content = {
        "reusable": False,
        "ephemeral": wish.ephemeral,
        "expiration": expiration,
        "aclTags": list(wish.tags),
    }
    reply = await post(wire.place(api_url, HEADSCALE_PATH), content, api_key)
    if reply.status != wire.OK:
        raise wire.refusal(reply, forbidden=UpstreamReason.CREDENTIAL_REFUSED, rejected=UpstreamReason.SCOPE_REFUSED)
    made = wire.json_object(reply.body).get("preAuthKey")
    return _key(_member(made, "key"), _member(made, "reusable"), _member(made, "aclTags"), wish)


def _key(key: object, reusable: object, tags: object, wish: KeyWish) -> AuthKey:
    if not isinstance(key, str) or not key:
        raise UpstreamError(UpstreamReason.MALFORMED, "the upstream's answer holds no key")
    if reusable or (tags is not None and not _within(tags, wish.tags)):
        raise UpstreamError(UpstreamReason.WIDER, "the upstream made a key for more than was asked for")
    return AuthKey(key, wish.expiry)


def _within(tags: object, wanted: Sequence[str]) -> bool:
    return isinstance(tags, list) and set(map(str, tags)) == set(wanted)


def _member(value: object, name: str) -> Any:  # noqa: ANN401 - whatever the upstream answered
    return value.get(name) if isinstance(value, dict) else None
