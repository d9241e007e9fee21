"""The exchange where logins are kept: a token of ours whose login has ended is no session any more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tailseal.oauth import introspection
from tailseal.oauth.admission import Person
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.records import Login
from tailseal.state.grants import Kind
from tailseal.state.protocol import StateUnavailable
from tailseal.tailnet.errors import UnavailableError
from tailseal.tokens import form as forms
from tailseal.tokens import verify
from tailseal.tokens.outcomes import Answered, Audit, Call, turned_away, unavailable
from tailseal.tokens.refusals import Outage
from tailseal.tokens.request import REPEATABLE
from tailseal.tokens.standing import Standing, Standings
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.exchange.token import PATIENCE, TokenEndpoint
from tailseal.workers.idp import granting, signing
from tailseal.workers.idp.context import IdpRuntime


class Exchange(TokenEndpoint):
    """`POST /token` for exchanges.

    Args:
        runtime: the identity provider's ports.
    """

    def __init__(self, runtime: IdpRuntime) -> None:
        super().__init__(runtime.common, find=runtime.find_client)
        self._idp = runtime

    async def _decide(self, call: Call) -> Answered:
        faults: Audit = {}
        answered = await self._decide_knowing(call, faults)
        answered.audit.update(faults)
        return answered

    async def _decide_knowing(self, call: Call, faults: Audit) -> Answered:
        now = self._runtime.clock()
        try:
            async with asyncio.timeout(PATIENCE):
                logins = await self._logins(call, faults)
        except TimeoutError:
            return unavailable(call, Outage.TIMED_OUT, now)
        except StateUnavailable as error:
            return unavailable(call, error.fault, now)
        except UnavailableError as error:
            return unavailable(call, error.reason, now)
        except OAuthError as error:
            return turned_away(call, error.refusal, now)
        return await super()._decide(call._replace(logins=logins))

    async def _logins(self, call: Call, faults: Audit) -> Standings:
        """What those are granted whose logins the tokens are of; what is wrong otherwise is seen later.

        Args:
            call: the request.
            faults: is told what of their app capabilities counts for nothing.

        Raises:
            OAuthError: one of the logins is over, or nobody can say.
        """
        snapshot, found = self._runtime.current(), dict[str, Standing]()
        if snapshot is None or call.vouched is not None:
            return found
        try:
            fields = forms.parse(call.body, REPEATABLE)
        except forms.FormError:
            return found
        for name in ("subject_token", "actor_token"):
            for token in fields.get(name, ()):
                own = introspection.own(token, signing.published(snapshot), snapshot.settings)
                who = await self._person(snapshot, own.payload, faults) if own is not None else None
                if own is not None and who is not None:
                    found[own.payload["jti"]] = _standing(who, snapshot.settings.capability)
        return found

    async def _person(self, snapshot: Snapshot, claims: Mapping[str, Any], faults: Audit) -> Person | None:
        """Who it is by now that logged in for the token; None: nobody did.

        What was given in exchange is of no login, and nobody takes it back.
        """
        if verify.was_exchanged(claims):
            return None
        if await self._idp.grants.get(Kind.REVOKED, introspection.mark_of(claims)) is not None:
            raise _ended()
        client = await self._idp.find_client(str(claims.get("client_id", "")))
        identifier = introspection.family_of(claims)
        family = await self._idp.grants.family(identifier) if identifier else None
        if client is None or (identifier and (family is None or family.client != client.uid)):
            raise _ended()
        if family is None:
            return None
        try:
            login = Login.from_bytes(family.content)
            return await granting.still(self._idp, snapshot, client, family, login, faults)
        except OAuthError as error:
            raise (_ended() if error.error == "invalid_grant" else error) from None


def _standing(who: Person, name: str) -> Standing:
    user = who.caller.user
    return Standing(who.capabilities, user.login if user is not None else "", who.caller.capabilities.get(name, ()))


def _ended() -> OAuthError:
    text = "the token was taken back, or the login that it is of has ended"
    return OAuthError("invalid_request", text, reason="SessionEnded")
