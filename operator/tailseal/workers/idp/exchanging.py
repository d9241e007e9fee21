"""The exchange where logins are kept: a token of ours whose login has ended is no session any more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from tailseal.oauth import introspection
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.records import Login
from tailseal.state.grants import Kind
from tailseal.state.protocol import StateUnavailable
from tailseal.tailnet.errors import UnavailableError
from tailseal.tokens import form as forms
from tailseal.tokens import verify
from tailseal.tokens.answers import Refusal
from tailseal.tokens.outcomes import Answered, Call, turned_away, unavailable
from tailseal.tokens.refusals import Outage
from tailseal.tokens.request import REPEATABLE
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.exchange.token import PATIENCE, TokenEndpoint
from tailseal.workers.idp import granting, signing
from tailseal.workers.idp.context import IdpRuntime

_ENDED: Final = Refusal(
    400, "invalid_request", "SessionEnded", "the token was taken back, or the login that it is of has ended"
)


class Exchange(TokenEndpoint):
    """`POST /token` for exchanges.

    Args:
        runtime: the identity provider's ports.
    """

    def __init__(self, runtime: IdpRuntime) -> None:
        super().__init__(runtime.common, find=runtime.find_client)
        self._idp = runtime

    async def _decide(self, call: Call) -> Answered:
        now = self._runtime.clock()
        try:
            async with asyncio.timeout(PATIENCE):
                ended = await self._has_ended(call)
        except TimeoutError:
            return unavailable(call, Outage.TIMED_OUT, now)
        except StateUnavailable as error:
            return unavailable(call, error.fault, now)
        except UnavailableError as error:
            return unavailable(call, error.reason, now)
        except OAuthError as error:
            return turned_away(call, error.refusal, now)
        return turned_away(call, _ENDED, now) if ended else await super()._decide(call._replace(logins=True))

    async def _has_ended(self, call: Call) -> bool:
        """Whether one of the tokens is of a login that is over; what is wrong otherwise is seen later."""
        snapshot = self._runtime.current()
        if snapshot is None or call.vouched is not None:
            return False
        try:
            fields = forms.parse(call.body, REPEATABLE)
        except forms.FormError:
            return False
        for name in ("subject_token", "actor_token"):
            for token in fields.get(name, ()):
                own = introspection.own(token, signing.published(snapshot), snapshot.settings)
                if own is not None and await self._is_over(snapshot, own.payload):
                    return True
        return False

    async def _is_over(self, snapshot: Snapshot, claims: Mapping[str, Any]) -> bool:
        """Whether the token counts no more; what was given in exchange is of no login, and nobody takes it back."""
        if verify.was_exchanged(claims):
            return False
        if await self._idp.grants.get(Kind.REVOKED, introspection.mark_of(claims)) is not None:
            return True
        client = await self._idp.find_client(str(claims.get("client_id", "")))
        identifier = introspection.family_of(claims)
        family = await self._idp.grants.family(identifier) if identifier else None
        if client is None or (identifier and (family is None or family.client != client.uid)):
            return True
        if family is None:
            return False
        try:
            await granting.still(self._idp, snapshot, client, family, Login.from_bytes(family.content))
        except OAuthError as error:
            if error.error == "invalid_grant":
                return True
            raise
        return False
