"""Makes the tokens of a login, or of a client by itself: everything is signed before anything is used up for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import accesstoken, claims, credentials, idtoken, wishes
from tailseal.oauth.accesstoken import Terms
from tailseal.oauth.admission import Person
from tailseal.oauth.records import Access, Login, Refreshing
from tailseal.state.grants import Family, Kind, Record
from tailseal.tokens.answers import JSON, Response
from tailseal.tokens.mint import AT_JWT, PLAIN_JWT
from tailseal.workers.idp import signing
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Request


@dataclass(frozen=True, slots=True)
class Grant:
    """What is to be given to a client for a login.

    Args:
        client: that gets it.
        family: that it belongs to.
        login: that it is for.
        who: they are by now.
        scopes: of the access token.
        resources: that it is for; empty: ourselves.
        jkt: key that it is bound to; empty: none.
        refresh_jkt: key that the refresh token is bound to; empty: none.
        nonce: for the ID token; empty: none.
    """

    client: CompiledClient
    family: Family
    login: Login
    who: Person
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    jkt: str = ""
    refresh_jkt: str = ""
    nonce: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Made:
    """Tokens that nobody has yet.

    Args:
        content: of the answer; never to be logged.
        records: to be kept before it is given.
    """

    content: dict[str, Any] = field(repr=False)
    records: tuple[Record, ...] = ()

    def response(self) -> Response:
        """The answer (RFC 6749 section 5.1)."""
        return Response(200, orjson.dumps(self.content), JSON)


async def of_login(runtime: IdpRuntime, request: Request, grant: Grant) -> Made:
    """Tokens for a login.

    Raises:
        OAuthError: no key can sign now.
    """
    login, settings = grant.login, request.snapshot.settings
    terms = Terms(
        issuer=settings.issuer,
        subject=login.subject,
        scopes=grant.scopes,
        resources=grant.resources,
        family=grant.family.id,
        jkt=grant.jkt,
        auth_time=login.auth_time,
        about=claims.for_services(grant.who, grant.client, grant.scopes),
    )
    made = await access(runtime, request, grant.client, terms, owner=login.owner)
    content, records = made.content, made.records
    if "openid" in grant.scopes:
        content["id_token"] = await _id_token(runtime, request, grant, content["access_token"])
    if "refresh_token" in grant.client.grant_types:
        content["refresh_token"], record = _refresh_token(runtime, grant)
        records = (*records, record)
    request.audit.update(subject=login.owner, scope=" ".join(grant.scopes))
    return Made(content, records)


async def access(
    runtime: IdpRuntime, request: Request, client: CompiledClient, terms: Terms, *, owner: str = ""
) -> Made:
    """An access token alone, in the client's format.

    Args:
        runtime: signs.
        request: that asks.
        client: that gets it.
        terms: what it says.
        owner: subject whose it is; empty: the client's own.

    Raises:
        OAuthError: no key can sign now.
    """
    model, ttl = request.snapshot.signing.model, _ttl(request, request.snapshot.settings.access_token_ttl)
    said = accesstoken.claims(terms, client, int(request.now), ttl, runtime.random(accesstoken.RANDOM_BYTES))
    records: tuple[Record, ...] = ()
    if client.opaque:
        runtime.room.take("access" if owner else "ownAccess", owner or client.namespace)
        token = credentials.handle(runtime.random(credentials.RANDOM_BYTES))
        digest, until = credentials.digest(token), float(said["exp"])
        records = (Record(Kind.ACCESS, digest, Access(said).to_bytes(), until, terms.family, owner),)
    else:
        token = await signing.signed(runtime, request.snapshot, AT_JWT, said, model.default_algorithm)
    request.audit.update(audience=said["aud"], tokenID=said["jti"])
    content: dict[str, Any] = {
        "access_token": token,
        "token_type": "DPoP" if terms.jkt else "Bearer",
        "expires_in": ttl,
    }
    return Made(content | ({"scope": " ".join(terms.scopes)} if terms.scopes else {}), records)


async def _id_token(runtime: IdpRuntime, request: Request, grant: Grant, access_token: str) -> str:
    client, login, snapshot = grant.client, grant.login, request.snapshot
    issuer, now = snapshot.settings.issuer, int(request.now)
    algorithm = _algorithm(request, client)
    wished = wishes.read(login.claims).id_token
    about = claims.of(grant.who, client, grant.scopes, wished, issuer, userinfo=False)
    said = idtoken.claims(login, client, about, access_token, algorithm)
    said |= {"iss": issuer, "iat": now, "exp": now + _ttl(request, snapshot.settings.id_token_ttl)}
    said |= {"nonce": grant.nonce} if grant.nonce else {}
    return await signing.signed(runtime, snapshot, PLAIN_JWT, said, algorithm)


def _algorithm(request: Request, client: CompiledClient) -> str:
    """What the client's ID tokens are signed with."""
    model = request.snapshot.signing.model
    return client.id_token_algorithm or (signing.USUAL if signing.USUAL in model.active else model.default_algorithm)


def _ttl(request: Request, wanted: int) -> int:
    """Seconds that a token lives: no longer than the keys' promised overlap honours."""
    return min(wanted, request.snapshot.signing.model.max_token_ttl)


def _refresh_token(runtime: IdpRuntime, grant: Grant) -> tuple[str, Record]:
    handle = credentials.handle(runtime.random(credentials.RANDOM_BYTES))
    content = Refreshing(grant.refresh_jkt).to_bytes()
    until, login = grant.family.expires_at, grant.login
    return handle, Record(Kind.REFRESH, credentials.digest(handle), content, until, grant.family.id, login.owner)
