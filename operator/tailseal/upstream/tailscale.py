"""Asks Tailscale (or headscale) for an API token by client credentials: every request carries its own scopes.

RFC 6749 section 4.4 at `{api_url}/api/v2/oauth/token`, with Tailscale's `tags`. Nothing here is kept between two
requests: scopes that live in shared state reach another caller's token sooner or later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tailseal.upstream import wire
from tailseal.upstream.errors import UpstreamError, UpstreamReason
from tailseal.upstream.wire import PostForm

TOKEN_PATH: Final = "/api/v2/oauth/token"  # noqa: S105 - a path

LIFETIME: Final = 3600
"""Seconds that a Tailscale API token lives if the answer does not say."""

_WORD: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
"""`scope-token` of RFC 6749 section 3.3: above all, no blank, which would make two words of one."""


@dataclass(frozen=True, slots=True)
class Credential:
    """An OAuth client of the tailnet."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UpstreamToken:
    """An access token that an upstream gave: to be handed to the caller and to nobody else.

    Args:
        access_token: the token; never to be logged.
        expires_in: seconds it lives, as the upstream says.
        scopes: what it grants; never more than was asked for.
    """

    access_token: str = field(repr=False)
    expires_in: int
    scopes: tuple[str, ...]


async def fetch_token(
    post: PostForm, api_url: str, credential: Credential, *, scopes: Sequence[str], tags: Sequence[str] = ()
) -> UpstreamToken:
    """A token with exactly these scopes and tags.

    Args:
        post: the client.
        api_url: e.g. `https://api.tailscale.com`.
        credential: whose token it is.
        scopes: never empty: without, the answer would grant all that the client may.
        tags: for scopes that create devices or keys.

    Raises:
        UpstreamError: see its reasons.
    """
    reply = await post(wire.place(api_url, TOKEN_PATH), _form(credential, scopes, tags))
    if reply.status != wire.OK:
        raise wire.refusal(reply, forbidden=UpstreamReason.SCOPE_REFUSED)
    return bearer_token(reply.body, scopes)


def _form(credential: Credential, scopes: Sequence[str], tags: Sequence[str]) -> dict[str, str]:
    if not scopes or not all(_WORD.fullmatch(word) for word in (*scopes, *tags)):
        raise UpstreamError(UpstreamReason.SCOPE_REFUSED, "at least one scope, and words without blanks, are needed")
    form = {
        "grant_type": "client_credentials",
        "client_id": credential.client_id,
        "client_secret": credential.client_secret,
        "scope": " ".join(scopes),
    }
    return {**form, "tags": " ".join(tags)} if tags else form


def bearer_token(body: bytes, scopes: Sequence[str]) -> UpstreamToken:
    """The token in an answer by RFC 6749 section 5.1.

    Args:
        body: of the answer.
        scopes: the most that it may grant.

    Raises:
        UpstreamError: there is none, or it grants more.
    """
    answer = wire.json_object(body)
    token, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
    lifetime = answer.get("expires_in", LIFETIME)
    if not isinstance(token, str) or not token or not isinstance(kind, str) or kind.lower() != "bearer":
        raise UpstreamError(UpstreamReason.MALFORMED, "the upstream's answer holds no bearer token")
    if not isinstance(lifetime, int) or isinstance(lifetime, bool) or lifetime <= 0:
        raise UpstreamError(UpstreamReason.MALFORMED, "the upstream's expires_in is not a number of seconds")
    return UpstreamToken(token, lifetime, _granted(answer.get("scope"), scopes))


def _granted(answered: object, requested: Sequence[str]) -> tuple[str, ...]:
    """What the token grants: what was asked for where the answer does not say (RFC 6749 section 5.1)."""
    if answered is None or answered == "":
        return tuple(requested)
    if not isinstance(answered, str):
        raise UpstreamError(UpstreamReason.MALFORMED, "the upstream's scope is not a text")
    words = tuple(answered.split())
    if not all(_is_within(word, requested) for word in words):
        raise UpstreamError(UpstreamReason.WIDER, "the upstream granted more than was asked for")
    return words


def _is_within(word: str, requested: Sequence[str]) -> bool:
    """Writing implies reading at Tailscale, and `all` everything: naming that is no more than was asked for."""
    reading = word.removesuffix(":read")
    return (
        word in requested or "all" in requested or (reading != word and not {reading, "all:read"}.isdisjoint(requested))
    )
