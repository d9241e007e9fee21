"""`/register` (RFC 7591, RFC 7592): clients that register themselves, for whom a person or machine vouches."""

from __future__ import annotations

import hmac
from time import monotonic
from typing import Final

import orjson

from tailseal.domain.clients import secrets
from tailseal.oauth import credentials, introduction, registration
from tailseal.oauth.errors import OAuthError, limited
from tailseal.oauth.registration import Registered
from tailseal.state.grants import Kind as Kept
from tailseal.state.grants import Record
from tailseal.tokens.answers import JSON, NO_STORE, Response
from tailseal.workers.common.http import wire
from tailseal.workers.common.limits.bucket import Limiter
from tailseal.workers.idp.callers import visitor
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request

RATE: Final = 1 / 60
BURST: Final = 10
"""Registrations of one caller: ten at once, then one a minute."""

_WANTED: Final = frozenset({b"authorization"})
_ID_BYTES: Final = 16
_CALLERS: Final = 4096


def endpoint(runtime: IdpRuntime) -> Endpoint:
    """`POST /register`."""
    limiter = Limiter(RATE, BURST, _CALLERS)

    async def act(request: Request) -> Response:
        _check_on(request)
        owner = await _vouching(runtime, request, limiter)
        metadata = introduction.read(introduction.document(request.content))
        if len(await runtime.grants.owned(Kept.REGISTERED, owner, registration.MOST)) >= registration.MOST:
            text = f"you have {registration.MOST} registered clients: delete some"
            raise OAuthError("access_denied", text, status=403, reason="TooManyClients")
        client_id = registration.PREFIX + credentials.handle(runtime.random(_ID_BYTES))
        secret, token = _drawn(runtime), _drawn(runtime)
        made = Registered(
            client_id=client_id,
            metadata=metadata,
            secret=secrets.digest(client_id, secret) if metadata.has_secret else "",
            token=credentials.digest(token).hex(),
            issued_at=request.now,
            expires_at=request.now + registration.SECONDS,
            owner=owner,
        )
        await runtime.grants.put([_record(made)])
        request.audit["client"] = client_id
        told = registration.information(
            made, request.snapshot.settings.issuer, secret=secret if metadata.has_secret else "", token=token
        )
        return Response(201, orjson.dumps(told), JSON)

    return Endpoint(runtime, Kind("register", reads="application/json"), act)


def management(runtime: IdpRuntime) -> Endpoint:
    """`GET`, `PUT` and `DELETE /register/{client_id}`, for whoever has the client's registration token."""

    async def act(request: Request) -> Response:
        _check_on(request)
        record, found, token = await _mine(runtime, request)
        request.audit["client"] = found.client_id
        issuer = request.snapshot.settings.issuer
        if request.method == "DELETE":
            await runtime.grants.remove(Kept.REGISTERED, record.digest)
            return Response(204, b"", NO_STORE)
        if request.method == "PUT":
            found = registration.changed(found, introduction.document(request.content), request.now)
            if not await runtime.grants.replace(record, _record(found)):
                raise OAuthError("temporarily_unavailable", "the client is being changed: try again", status=503)
        return Response(200, orjson.dumps(registration.information(found, issuer, token=token)), JSON)

    kind = Kind(
        "register-management",
        methods=frozenset({"GET", "PUT", "DELETE"}),
        reads="application/json",
        quiet=frozenset({"GET"}),
    )
    return Endpoint(runtime, kind, act)


def _check_on(request: Request) -> None:
    if not request.snapshot.settings.introductions.dynamic:
        raise OAuthError("access_denied", "clients do not register themselves here", status=403, reason="NotEnabled")


async def _vouching(runtime: IdpRuntime, request: Request, limiter: Limiter) -> str:
    """Subject of the caller, who may register clients."""
    person = await visitor(runtime, request)
    owner = person.caller.subject
    if not person.capabilities.allow("register", "*"):
        text = "an app capability of the tailnet has to let you register clients"
        raise OAuthError("access_denied", text, status=403, reason="RegisterNotAllowed")
    if wait := limiter.take(owner, monotonic()):
        raise limited(wait, "you register clients faster than anybody needs", "RegistrationLimited")
    return owner


async def _mine(runtime: IdpRuntime, request: Request) -> tuple[Record, Registered, str]:
    """The registration, and the token that it is managed with; one that is gone is no different from another's."""
    header = wire.headers(request.scope, _WANTED).get(b"authorization", "")
    scheme, _, token = header.partition(" ")
    client_id = str(request.scope["path_params"]["client_id"])
    record = await runtime.grants.get(Kept.REGISTERED, credentials.digest(client_id))
    found = Registered.from_bytes(record.content) if record is not None else None
    known = found.token if found is not None else credentials.digest("").hex()
    right = hmac.compare_digest(known, credentials.digest(token).hex())
    if record is None or found is None or scheme.lower() != "bearer" or not right:
        text = "the registration is not there, or the token is not the one that it is managed with"
        raise OAuthError("invalid_token", text, status=401)
    return record, found, token


def _record(made: Registered) -> Record:
    digest = credentials.digest(made.client_id)
    return Record(Kept.REGISTERED, digest, made.to_bytes(), made.expires_at, owner=made.owner)


def _drawn(runtime: IdpRuntime) -> str:
    return credentials.handle(runtime.random(credentials.RANDOM_BYTES))
