"""`/authorize` (RFC 6749 section 4.1, OpenID Connect Core section 3.1.2), and the form by which a person answers it."""

from __future__ import annotations

from collections.abc import Sequence

from tailseal.oauth import login, response
from tailseal.oauth.authorize import RedirectedError, Target
from tailseal.oauth.errors import OAuthError, unavailable
from tailseal.oauth.parameters import ALL, one
from tailseal.state.protocol import StateUnavailable
from tailseal.tokens import form as forms
from tailseal.tokens.answers import Header, Response
from tailseal.workers.idp import cookies, pages, sessions
from tailseal.workers.idp.asking import CONFIRM, page
from tailseal.workers.idp.codes import Login, issue
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request
from tailseal.workers.idp.sessions import Session
from tailseal.workers.idp.visit import Visit, read

__all__ = ["CONFIRM", "confirmation", "endpoint"]


def endpoint(runtime: IdpRuntime) -> Endpoint:
    """`/authorize`."""

    async def act(request: Request) -> Response:
        visit = await read(runtime, request, request.form)
        if not visit.asks:
            return await _code(visit, visit.session)
        if again := sessions.by_get(request, visit.form):
            return again
        _refuse_in_place(visit)
        request.audit["result"] = "asked"
        return page(visit)

    return Endpoint(runtime, Kind("authorize", frozenset({"GET", "POST"}), repeatable=ALL, says=_says), act)


def confirmation(runtime: IdpRuntime) -> Endpoint:
    """The form's answer."""

    async def act(request: Request) -> Response:
        try:
            asked = forms.parse(one(request.form, "request").encode(), ALL)
        except (forms.FormError, UnicodeEncodeError):
            raise OAuthError("invalid_request", "the form is not one of ours") from None
        visit = await read(runtime, request, asked)
        cookies.check_form(request, *visit.bound)
        if one(request.form, "answer") != "yes":
            denied = OAuthError("access_denied", "the person did not agree", reason="Declined")
            raise RedirectedError(visit.asked.target, denied)
        return await _agreed(visit)

    return Endpoint(runtime, Kind("authorize", repeatable=ALL, says=_says), act)


def _refuse_in_place(visit: Visit) -> None:
    try:
        login.check_silent(visit.asked, visit.asks)
    except OAuthError as error:
        raise RedirectedError(visit.asked.target, error) from None


async def _agreed(visit: Visit) -> Response:
    """The person said yes."""
    session = visit.session
    if visit.asks.confirm or session is None:
        session = sessions.confirmed(visit.runtime, visit.session, visit.who, visit.request.now)
    return await _code(visit, session, (session.header(visit.request),))


async def _code(visit: Visit, session: Session | None, headers: Sequence[Header] = ()) -> Response:
    """The answer with a code; what was confirmed and agreed to is kept in the same write."""
    if session is None:  # pragma: no cover - without one, there is something to ask
        raise OAuthError("server_error", "there is no session", status=500)
    asked, where = visit.asked, visit.asked.target
    try:
        found = Login(asked, visit.who, visit.scopes, session)
        code = await issue(visit.runtime, visit.request, found, new=bool(headers), consent=visit.asks.consent)
    except OAuthError as error:
        raise RedirectedError(where, error) from None
    except StateUnavailable as error:
        raise RedirectedError(where, unavailable(error.fault)) from None
    sent = response.parameters(where, visit.request.snapshot.settings.issuer, code=code)
    return _answer(where, sent, headers)


def _answer(where: Target, sent: dict[str, str], headers: Sequence[Header] = ()) -> Response:
    if where.mode != "form_post":
        found = response.redirect(where, sent)
        return found._replace(headers=(*found.headers, *headers))
    to = pages.origin_of(where.redirect_uri)
    return pages.page("form_post", headers=headers, to=to, title="One moment", action=where.redirect_uri, sent=sent)


def _says(request: Request | None, error: OAuthError, decision: str) -> Response:
    """A refusal goes where the answer would have gone, or else to the person."""
    if not isinstance(error, RedirectedError) or request is None:
        return pages.refused(request, error, decision)
    issuer = request.snapshot.settings.issuer
    sent = response.parameters(error.target, issuer, error=error.error, error_description=error.description)
    return _answer(error.target, sent)
