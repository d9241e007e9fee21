"""`/userinfo` (OpenID Connect Core section 5.3, RFC 6750, RFC 9449 section 7): what the scopes of a token tell."""

from __future__ import annotations

from typing import Final

import orjson

from tailseal.oauth import admission, claims, errors, wishes
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.records import Login
from tailseal.tokens import verify
from tailseal.tokens.algorithms import VERIFYING
from tailseal.tokens.answers import JSON, Response
from tailseal.tokens.errors import TokenError
from tailseal.workers.common.http import wire
from tailseal.workers.idp import granting, proof
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request
from tailseal.workers.idp.found import Found, find

_WANTED: Final = frozenset({b"authorization", b"dpop"})
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403


def endpoint(runtime: IdpRuntime) -> Endpoint:
    """The endpoint."""

    async def act(request: Request) -> Response:
        scheme, token = _presented(request)
        found = await find(runtime, request.snapshot, token)
        if found is None or found.refreshes or found.family is None:
            raise _invalid("the access token is not one of ours, or has expired, or was taken back")
        scopes = tuple(str(found.claims.get("scope", "")).split())
        _check_audience(found, request)
        await _check_key(runtime, request, found, scheme, token)
        if "openid" not in scopes:
            text = "the access token is not for this: scope openid is needed"
            raise OAuthError("insufficient_scope", text, status=_FORBIDDEN)
        return await _told(runtime, request, found, scopes)

    kind = Kind("userinfo", frozenset({"GET", "POST"}), cors=True, funnel=True, says=_says)
    return Endpoint(runtime, kind, act)


async def _told(runtime: IdpRuntime, request: Request, found: Found, scopes: tuple[str, ...]) -> Response:
    family = found.family
    client = await runtime.find_client(str(found.claims["client_id"]))
    if family is None or client is None or client.uid != family.client:
        raise _invalid("the client that the access token was for is not there any more")
    login = Login.from_bytes(family.content)
    request.audit.update(subject=login.owner, client=client.client_id)
    try:
        who = await granting.still(runtime, request.snapshot, client, family, login, request.audit)
    except OAuthError as error:
        raise (_invalid(error.description) if error.error == "invalid_grant" else error) from None
    wished = wishes.read(login.claims).userinfo
    issuer = request.snapshot.settings.issuer
    said = claims.of(who, client, admission.kept(client, who, scopes), wished, issuer, userinfo=True)
    return Response(200, orjson.dumps(said | {"sub": login.subject}), JSON)


def _presented(request: Request) -> tuple[str, str]:
    """The access token and how it came: in the header or, by POST, in the form; never in two ways (RFC 6750 2)."""
    header = wire.headers(request.scope, _WANTED).get(b"authorization", "")
    scheme, _, token = header.partition(" ")
    body = request.one("access_token") if request.method == "POST" else ""
    if header and body:
        raise OAuthError("invalid_request", "the access token comes in two ways: one is right")
    if body:
        return "bearer", body
    if scheme.lower() not in {"bearer", "dpop"} or not token.strip():
        raise OAuthError("invalid_token", "an access token is needed", status=_UNAUTHORIZED, reason="NoToken")
    return scheme.lower(), token.strip()


def _check_audience(found: Found, request: Request) -> None:
    """A token for other services is none for us, although we gave it (RFC 9068 section 4)."""
    try:
        meant = verify.audiences(found.claims)
    except TokenError:
        meant = ()
    if request.snapshot.settings.issuer not in meant:
        raise _invalid("the access token is for another service")


async def _check_key(runtime: IdpRuntime, request: Request, found: Found, scheme: str, token: str) -> None:
    bound = found.claims.get("cnf", {}).get("jkt", "")
    if (scheme == "dpop") != bool(bound):
        raise _invalid("the access token is bound to a key: scheme DPoP and a proof go with such, and with no other")
    try:
        proven = await proof.proven(runtime, request, token) if bound else ""
    except OAuthError as error:
        error.status = _UNAUTHORIZED
        raise
    if proven != bound:
        raise _invalid("the access token is bound to another key")


def _invalid(text: str) -> OAuthError:
    return OAuthError("invalid_token", text, status=_UNAUTHORIZED)


def _says(request: Request | None, error: OAuthError, decision: str) -> Response:
    """Refusals say by which scheme to come (RFC 6750 section 3, RFC 9449 section 7.1)."""
    found = errors.answer(error, decision)
    if error.status not in {_UNAUTHORIZED, _FORBIDDEN} and error.error != "invalid_request":
        return found
    asked = wire.headers(request.scope, _WANTED) if request is not None else {}
    by_proof = b"dpop" in asked or asked.get(b"authorization", "")[:5].lower() == "dpop "
    parts = [f'algs="{" ".join(VERIFYING)}"'] if by_proof else ['realm="tailseal"']
    if error.reason != "NoToken":
        parts += [f'error="{error.error}"', f'error_description="{error.description}"']
    if error.error == "insufficient_scope":
        parts.append('scope="openid"')
    challenge = f"{'DPoP' if by_proof else 'Bearer'} {', '.join(parts)}"
    return found._replace(headers=(*found.headers, (b"www-authenticate", challenge.encode("ascii", "replace"))))
