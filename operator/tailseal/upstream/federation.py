"""Asks Tailscale for an API token with an assertion that we signed ourselves: workload identity federation.

The exchange has no scope parameter: the token always has what the federated identity was given. So nothing is asked
for but what the upstream declares, and an answer that says more is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tailseal.upstream import wire
from tailseal.upstream.errors import UpstreamReason
from tailseal.upstream.tailscale import UpstreamToken, bearer_token
from tailseal.upstream.wire import PostForm

EXCHANGE_PATH: Final = "/api/v2/oauth/token-exchange"

ASSERTION_SECONDS: Final = 60
"""Lifetime of an assertion: it is used at once, and by nobody else."""


async def exchange(
    post: PostForm, api_url: str, client_id: str, assertion: str, *, scopes: Sequence[str]
) -> UpstreamToken:
    """A token of a federated identity.

    Args:
        post: the client.
        api_url: e.g. `https://api.tailscale.com`.
        client_id: of the federated identity.
        assertion: our JWT; never to be logged.
        scopes: those that the identity was given.

    Raises:
        UpstreamError: see its reasons.
    """
    reply = await post(wire.place(api_url, EXCHANGE_PATH), {"client_id": client_id, "jwt": assertion})
    if reply.status != wire.OK:
        raise wire.refusal(reply, forbidden=UpstreamReason.CREDENTIAL_REFUSED)
    return bearer_token(reply.body, scopes)
