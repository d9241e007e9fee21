"""The token endpoint: reads the request, awaits what the synchronous core asks for, audits, answers."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Mapping
from functools import partial
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, ClassVar, Final

import structlog

from tailseal.domain.policy.source import KeySource
from tailseal.tokens import refusals
from tailseal.tokens.answers import Refusal, Response
from tailseal.tokens.dpop import Nonces
from tailseal.tokens.exchange import (
    Answered,
    Call,
    Exchange,
    NeedKeys,
    NeedUpstream,
    finish,
    refuse,
    unavailable,
)
from tailseal.tokens.issue import NeedSignature, Step
from tailseal.tokens.once import NeedOnce
from tailseal.tokens.outcomes import turned_away
from tailseal.tokens.refusals import Outage
from tailseal.tokens.request import MAX_BODY_BYTES
from tailseal.upstream.errors import UpstreamError
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http import wire
from tailseal.workers.common.http.wire import Receive, Scope, Send
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.common.telemetry.audit import AuditError
from tailseal.workers.common.telemetry.event import event, origin
from tailseal.workers.exchange.giving import ask, is_still
from tailseal.workers.exchange.once import taken
from tailseal.workers.exchange.peer import Network, caller, is_unnamed_proxy, networks
from tailseal.workers.exchange.remote import signed
from tailseal.workers.exchange.turn import Turn
from tailseal.workers.exchange.waiting import Loads, Places

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient
    from tailseal.workers.exchange.clients import Find

MAX_CONCURRENT: Final = 512
"""Requests in progress; more are turned away at once, so that those in progress stay fast."""

PATIENCE: Final = 15.0
"""Seconds that one decision may wait for others: less than a process that ends leaves to those in progress."""

_WANTED: Final = frozenset({b"content-type", b"accept", b"authorization", b"x-forwarded-for", b"dpop"})

_AUTHORIZATION: Final = frozenset({b"authorization"})

_CREDENTIAL: Final = re.compile(rb"client_(?:secret|assertion)")
"""In a form that may prove a client. If its names are written in an odd way, it is refused for that."""

_FORWARDED: Final = frozenset({b"x-forwarded-for"})

_log = structlog.get_logger(__name__)


class TokenEndpoint:
    """`POST /token` as an ASGI application.

    Args:
        runtime: the worker's ports.
        limit: requests in progress.
        find: finds the client of a request that brings one's proof; left out, among those of the bundle.
    """

    endpoint: ClassVar = "token"
    """Label of its metrics."""

    def __init__(self, runtime: Runtime, *, limit: int = MAX_CONCURRENT, find: Find | None = None) -> None:
        self._runtime = runtime
        self._limit = limit
        self._find = find or self._listed
        self._active = self._reading = self._asking = 0
        self._places = Places(limit)
        self._snapshot: Snapshot | None = None
        self._exchange: Exchange | None = None
        self._proxies: tuple[Network, ...] = ()
        self._hinted = False
        self._origin = origin(runtime.component, self.endpoint, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await self._body(receive)
        except wire.Gone:
            return
        except wire.Slow:
            await wire.respond(send, wire.TOO_SLOW)
            return
        self._active += 1
        try:
            answered = await self._answer(scope, body)
        finally:
            self._active -= 1
        await wire.respond(send, self._said(answered))

    def _said(self, answered: Answered) -> Response:
        """The answer in the dialect of the endpoint."""
        return answered.response

    async def _body(self, receive: Receive) -> bytes:
        """The body; where many are slow, everybody has to hurry, so that those who are not get through."""
        self._reading += 1
        try:
            patience = wire.BODY_SECONDS if self._reading <= self._limit else wire.HURRY_SECONDS
            return await wire.read_body(receive, MAX_BODY_BYTES, patience)
        finally:
            self._reading -= 1

    async def _answer(self, scope: Scope, body: bytes) -> Answered:
        crowded = self._active > self._limit
        started = perf_counter()
        call = self._call(scope, body)
        try:
            answered = (
                self._withheld(call, crowded=crowded)
                or self._limited(call, scope)
                or await self._of_client(call, scope)
            )
        except Exception as error:  # noqa: BLE001 - no fault of ours may show a caller more than that it happened
            _log.error("exchange failed", decision=call.decision, **_whereabouts(error))
            answered = turned_away(call, _INTERNAL, self._runtime.clock())
        answered = self._audited(call, answered, started)
        if isinstance(call.watch, Turn):
            seen = call.watch
            self._runtime.ring.keep(answered.audit, seen.token, seen.asked, len(body), seen.actor)
        self._runtime.metrics.decided(answered.audit)
        self._runtime.metrics.exchange(self.endpoint, answered.result, answered.reason, perf_counter() - started)
        return answered

    def _call(self, scope: Scope, body: bytes) -> Call:
        asked = wire.headers(scope, _WANTED)
        return Call(
            body,
            self._runtime.decision_id(),
            asked.get(b"content-type", ""),
            asked.get(b"accept", ""),
            b"authorization" in asked,
            self._caller(scope, asked.get(b"x-forwarded-for", "")),
            Turn(self._runtime.limits),
            dpop=asked.get(b"dpop"),
        )

    def _caller(self, scope: Scope, forwarded: str) -> str:
        self._current()
        client = scope.get("client")
        peer = client[0] if client else ""
        return caller(peer, forwarded, self._proxies) if self._proxies else peer

    def _withheld(self, call: Call, *, crowded: bool) -> Answered | None:
        reason = Outage.OVERLOADED if crowded else self._runtime.withheld()
        return None if reason is None else unavailable(call, reason, self._runtime.clock())

    def _limited(self, call: Call, scope: Scope) -> Answered | None:
        refusal = self._runtime.limits.admit(call.peer)
        if refusal is None:
            return None
        self._hint(call.peer, scope)
        return turned_away(call, refusal, self._runtime.clock())

    def _hint(self, peer: str, scope: Scope) -> None:
        """Say once where a limit of one source probably meets many."""
        forwarded = wire.headers(scope, _FORWARDED).get(b"x-forwarded-for", "")
        if not self._hinted and is_unnamed_proxy(peer, forwarded, self._proxies):
            self._hinted = True
            _log.warning("callers behind one address are limited as one", peer=peer, fix="spec.serving.trustedProxies")

    async def _of_client(self, call: Call, scope: Scope) -> Answered:
        """The decision, once the client is known where one proves itself; nobody has to be one."""
        if not _may_be_of_client(call):
            return await self._excused(call)
        from tailseal.workers.exchange.clients import identified  # noqa: PLC0415 - few callers are clients

        header = wire.headers(scope, _AUTHORIZATION).get(b"authorization")
        try:
            async with asyncio.timeout(PATIENCE):  # for both: waiting for the client leaves less for the decision
                found = await identified(self._runtime, self._find, call, header, self._places.place)
                return found if isinstance(found, Answered) else await self._excused(found)
        except TimeoutError:
            return unavailable(call, Outage.TIMED_OUT, self._runtime.clock())

    async def _listed(self, client_id: str) -> CompiledClient | None:
        snapshot = self._runtime.current()
        return None if snapshot is None else snapshot.clients.get(client_id)

    async def _excused(self, call: Call) -> Answered:
        """The decision; what was not refused to a token that was verified does not count against its source."""
        answered = await self._decide(call)
        if answered.result != "refused" and "subject" in answered.audit:
            self._runtime.limits.excuse(call.peer)
        return answered

    async def _decide(self, call: Call) -> Answered:
        """The decision, at once where nothing has to be waited for."""
        outcome = self._step(call, {})
        if isinstance(outcome, Answered):
            return outcome
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._awaited(call, outcome)
        except TimeoutError:
            return unavailable(call, Outage.TIMED_OUT, self._runtime.clock())

    async def _awaited(self, call: Call, outcome: Step) -> Answered:
        """Step until there is a decision."""
        loads = Loads(self._runtime.keys)
        try:
            while not isinstance(outcome, Answered):
                if isinstance(outcome, NeedKeys):
                    with self._places.place() as free:
                        if not free:
                            return unavailable(call, Outage.OVERLOADED, self._runtime.clock())
                        await loads.wait(outcome)
                else:
                    met = await self._meet(outcome, call, loads.missing)
                    if isinstance(met, Answered):
                        return met
                    call = met
                outcome = self._step(call, loads.missing)
            return outcome
        finally:
            loads.cancel()

    async def _meet(
        self, need: NeedOnce | NeedSignature | NeedUpstream, call: Call, missing: Mapping[KeySource, str]
    ) -> Answered | Call:
        """The answer, or the request with which to step again."""
        if isinstance(need, NeedOnce):
            return await taken(self._runtime, need)
        if isinstance(need, NeedSignature):
            return await signed(self._runtime, need, self._snapshot, partial(self._step, call, missing)) or call
        return await self._ask_upstream(need, call, missing) or call

    def _step(self, call: Call, missing: Mapping[KeySource, str]) -> Step:
        _, exchange = self._current()
        if exchange is None:
            return unavailable(call, Outage.NO_BUNDLE, self._runtime.clock())
        return exchange.step(call, self._runtime.keys, self._runtime.clock(), missing)

    async def _ask_upstream(self, need: NeedUpstream, call: Call, missing: Mapping[KeySource, str]) -> Answered | None:
        """The answer; None where trust changed while the upstream was asked: what it gave is thrown away."""
        snapshot = self._snapshot  # of the step that needs it: the bundle's thread may have swapped it since
        if snapshot is None:  # pragma: no cover - the need came of one
            return None
        if 2 * self._asking >= self._limit:  # a slow upstream must not take the places of those who need none
            return refuse(need.call, need.audit, refusals.unavailable(Outage.OVERLOADED))
        self._asking += 1
        try:
            given = await ask(self._runtime.upstreams, snapshot, need)
        except UpstreamError as error:
            return refuse(need.call, need.audit, _upstream_refusal(error))
        finally:
            self._asking -= 1
        if self._runtime.current() is not snapshot:
            again, present = self._step(call, missing), self._snapshot
            if not isinstance(again, NeedUpstream) or not again.is_met_by(need):
                return None
            if present is None or not is_still(snapshot, present, need.upstream):
                return None
            need = again
        return finish(need, given.content, expires_in=given.expires_in, scopes=given.scopes)

    def _current(self) -> tuple[Snapshot | None, Exchange | None]:
        """The present snapshot and its core, which is made anew when the snapshot was swapped."""
        snapshot = self._runtime.current()
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._exchange = None if snapshot is None else _exchange(snapshot)
            self._proxies = () if snapshot is None else networks(snapshot.settings.trusted_proxies)
            settings = None if snapshot is None else snapshot.settings
            self._origin = origin(self._runtime.component, self.endpoint, settings)
        return snapshot, self._exchange

    def _audited(self, call: Call, answered: Answered, started: float) -> Answered:
        """The answer, if the decision could be written down; else nothing is granted."""
        try:
            self._runtime.audit.write(event(answered.audit, self._origin, perf_counter() - started))
        except AuditError:
            return unavailable(call, Outage.AUDIT_UNAVAILABLE, self._runtime.clock())
        return answered


_INTERNAL: Final = Refusal(500, "server_error", "InternalError", "the decision failed: nothing was granted")


def _may_be_of_client(call: Call) -> bool:
    """Whether it brings what might prove a client; only requests with a token of RFC 8693's may be a client's."""
    return call.dialect is None and call.vouched is None and bool(call.authorization or _CREDENTIAL.search(call.body))


def _upstream_refusal(error: UpstreamError) -> Refusal:
    if error.retryable:
        return refusals.unavailable(error.reason)
    return Refusal(400, "invalid_scope", error.reason, "the upstream does not grant the scopes or tags")


def _whereabouts(error: Exception) -> dict[str, str]:
    """Kind and place of a fault of ours: its text and values may hold what no log may."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"kind": type(error).__name__, "where": " < ".join(f"{frame.name}:{frame.lineno}" for frame in frames[::-1])}


def _exchange(snapshot: Snapshot) -> Exchange:
    signing = snapshot.signing
    settings, ttl = snapshot.settings, signing.model.max_token_ttl
    nonces = Nonces(signing.status_key, settings.issuer)
    return Exchange(settings, snapshot.index, signing.signer, ttl, signing.model.jwks, nonces, thread_time)
