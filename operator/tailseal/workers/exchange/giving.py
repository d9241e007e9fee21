"""Asks an upstream for just what a grant gives: a token, or a key to join the network."""

from __future__ import annotations

from dataclasses import dataclass, field

from tailseal.tokens.outcomes import NeedUpstream
from tailseal.upstream.authkeys import KeyWish
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.runtime import Upstreams


@dataclass(frozen=True, slots=True)
class Given:
    """What an upstream gave: for the caller and nobody else.

    Args:
        content: the token or key; never to be logged.
        expires_in: seconds.
        scopes: what a token grants.
    """

    content: str = field(repr=False)
    expires_in: int
    scopes: tuple[str, ...] = ()


async def ask(upstreams: Upstreams, snapshot: Snapshot, need: NeedUpstream) -> Given:
    """What is needed.

    Raises:
        UpstreamError: it is not given.
    """
    if need.key is None:
        token = await upstreams.token(snapshot, need.upstream, scopes=need.scopes, tags=need.tags)
        return Given(token.access_token, token.expires_in, tuple(token.scopes))
    terms = need.key
    wish = KeyWish(need.tags, terms.ephemeral, terms.expiry, need.call.decision, terms.policy)
    key = await upstreams.key(snapshot, need.upstream, wish)
    return Given(key.key, key.expires_in)


def is_still(former: Snapshot, present: Snapshot, upstream: str) -> bool:
    """Whether the name means the same place and credential: what another one gave is not to be handed out."""
    return _means(former, upstream) == _means(present, upstream)


def _means(snapshot: Snapshot, name: str) -> tuple[object, dict[str, bytes]]:
    target = next((found for found in snapshot.settings.upstreams if found.name == name), None)
    place = target and (target.tailscale or target.headscale)
    prefix = f"{place.credential}." if place and place.credential else "."
    return target, {file: content for file, content in snapshot.credentials.items() if file.startswith(prefix)}
