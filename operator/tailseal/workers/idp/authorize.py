"""`/authorize` (RFC 6749 section 4.1, OpenID Connect Core section 3.1.2), and the form by which a person answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from tailseal.domain.clients import redirects
from tailseal.oauth import admission, authorize, credentials, login, logout, pushed, response
from tailseal.oauth.admission import Person
from tailseal.oauth.authorize import AuthorizationRequest, RedirectedError, Target
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.login import Asks, Seen
from tailseal.oauth.parameters import ALL, Form, one
from tailseal.oauth.records import Consent, consent_handle
from tailseal.state.grants import Kind as Kept
from tailseal.state.protocol import StateUnavailable
from tailseal.tailnet.errors import NobodyError, UnavailableError
from tailseal.tokens import form as forms
from tailseal.tokens.answers import Header, Response
from tailseal.workers.idp import callers, cookies, pages, par, sessions, signing
from tailseal.workers.idp.authenticated import unavailable
from tailseal.workers.idp.codes import Login, issue, subject
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request
from tailseal.workers.idp.sessions import Session

CONFIRM: Final = "/authorize/confirm"

_LONGEST_URL: Final = 6000
_SAYS: Final = {
    "openid": "to know that it is you",
    "profile": "your name, login name and picture",
    "email": "your mail address",
    "groups": "your groups",
    "tailnet": "which device you use",
    "offline_access": "to stay logged in after you have logged out here",
}


@dataclass(frozen=True, slots=True)
class _Visit:
    """A request whose answer has a place to go, and whoever brought it."""

    runtime: IdpRuntime
    request: Request
    form: Form
    asked: AuthorizationRequest
    who: Person
    scopes: tuple[str, ...]
    session: Session | None
    asks: Asks

    @property
    def text(self) -> str:
        """The authorization request, as a form carries it."""
        return urlencode(dict(self.form), doseq=True)

    def bound(self, visit: str) -> tuple[str, ...]:
        """What a form is bound to."""
        return visit, self.who.caller.node.stable_id, self.who.caller.subject, self.text


def endpoint(runtime: IdpRuntime) -> Endpoint:
    """`/authorize`."""

    async def act(request: Request) -> Response:
        visit = await _visit(runtime, request, request.form)
        if not visit.asks:
            return await _code(visit, visit.session)
        if again := _by_get(visit):
            return again
        _refuse_in_place(visit)
        request.audit["result"] = "asked"
        return _page(visit)

    return Endpoint(runtime, Kind("authorize", frozenset({"GET", "POST"}), repeatable=ALL, says=_says), act)


def confirmation(runtime: IdpRuntime) -> Endpoint:
    """The form's answer."""

    async def act(request: Request) -> Response:
        try:
            asked = forms.parse(one(request.form, "request").encode(), ALL)
        except (forms.FormError, UnicodeEncodeError):
            raise OAuthError("invalid_request", "the form is not one of ours") from None
        visit = await _visit(runtime, request, asked)
        seal = cookies.read(request.scope, request.snapshot.settings, cookies.VISIT)
        cookies.check_form(request.snapshot, one(request.form, "form") if seal else "", visit.bound(seal), request.now)
        if one(request.form, "answer") != "yes":
            denied = OAuthError("access_denied", "the person did not agree", reason="Declined")
            raise RedirectedError(visit.asked.target, denied)
        return await _agreed(visit)

    return Endpoint(runtime, Kind("authorize", repeatable=ALL, says=_says), act)


async def _visit(runtime: IdpRuntime, request: Request, found: Form) -> _Visit:
    """Read everything; what has no place to go is for the person, all else for the client."""
    form, where = await _target(runtime, found)
    request.audit["client"] = where.client.client_id
    asked = authorize.read(form, where, request.snapshot.settings)
    try:
        who = await callers.person_of(runtime, request.scope, request.snapshot)
        request.audit["subject"] = who.caller.subject
        admission.check(where.client, who)
    except (OAuthError, NobodyError, UnavailableError) as error:
        if not asked.silent:
            raise
        raise RedirectedError(where, _told(error)) from None
    try:
        return await _seen(runtime, request, form, asked, who)
    except OAuthError as error:
        raise RedirectedError(where, error) from None
    except StateUnavailable as error:
        raise RedirectedError(where, unavailable(error.fault)) from None


async def _target(runtime: IdpRuntime, form: Form) -> tuple[Form, Target]:
    """Where the answer goes, and the request itself if it was pushed before."""
    client_id = one(form, "client_id")
    if not client_id:
        raise OAuthError("invalid_request", "parameter `client_id` is missing, or there are several")
    client = await runtime.find_client(client_id)
    request_uri = one(form, "request_uri")
    if client is not None and request_uri.startswith(pushed.PREFIX):
        form = await par.redeemed(runtime, client, request_uri)
    return form, authorize.target(form, client)


async def _seen(runtime: IdpRuntime, request: Request, form: Form, asked: AuthorizationRequest, who: Person) -> _Visit:
    scopes = admission.granted(asked.client, who, asked.scopes)
    sub = subject(request.snapshot, asked.client, who)
    login.check_wishes(asked, sub)
    if hint := one(form, "id_token_hint"):
        about = logout.hint(hint, signing.published(request.snapshot), request.snapshot.settings)
        login.check_hint(about.subject, sub)
    session = await sessions.present(runtime, request, who)
    agreed = await _agreed_before(runtime, asked, who)
    seen = Seen(None if session is None else session.browser, agreed, request.now)
    return _Visit(runtime, request, form, asked, who, scopes, session, login.asks(asked, who, scopes, seen))


async def _agreed_before(runtime: IdpRuntime, asked: AuthorizationRequest, who: Person) -> frozenset[str]:
    if asked.client.namespace:
        return frozenset()
    digest = credentials.digest(consent_handle(who.caller.subject, asked.client))
    record = await runtime.grants.get(Kept.CONSENT, digest)
    return frozenset() if record is None else frozenset(Consent.from_bytes(record.content).scopes)


def _refuse_in_place(visit: _Visit) -> None:
    try:
        login.check_silent(visit.asked, visit.asks)
    except OAuthError as error:
        raise RedirectedError(visit.asked.target, error) from None


def _by_get(visit: _Visit) -> Response | None:
    """The same by GET, where another site posted to us: browsers send us our cookie only then."""
    settings = visit.request.snapshot.settings
    if visit.request.method != "POST" or cookies.read(visit.request.scope, settings, cookies.SESSION):
        return None
    location = f"{settings.issuer.rstrip('/')}/authorize?{visit.text}"
    if len(location) > _LONGEST_URL:
        return None
    visit.request.audit["result"] = "asked"
    return Response(303, b"", (*response.NO_STORE, (b"location", location.encode())))


def _page(visit: _Visit) -> Response:
    """Asks the person."""
    request, asked, who = visit.request, visit.asked, visit.who
    settings = request.snapshot.settings
    seal, headers = cookies.visit(visit.runtime, request.scope, settings)
    user = who.caller.user
    return pages.page(
        "login",
        headers=headers,
        to=pages.origin_of(asked.target.redirect_uri),
        title=f"Log in to {_called(asked)}?",
        client=asked.client.client_id,
        person=user.display_name or user.login if user is not None else who.login,
        login=who.login,
        node=who.caller.node.name,
        host=redirects.host_of(asked.target.redirect_uri),
        other=bool(asked.login_hint) and asked.login_hint not in {who.login, who.caller.subject},
        scopes=[_SAYS.get(scope, scope) for scope in visit.scopes] if visit.asks.consent else [],
        action=settings.issuer.rstrip("/") + CONFIRM,
        request=visit.text,
        token=cookies.form_token(request.snapshot, visit.bound(seal), request.now),
    )


def _called(asked: AuthorizationRequest) -> str:
    return asked.client.name or asked.client.client_id


async def _agreed(visit: _Visit) -> Response:
    """The person said yes."""
    session = visit.session
    if visit.asks.confirm or session is None:
        session = sessions.confirmed(visit.runtime, visit.session, visit.who, visit.request.now)
    return await _code(visit, session, (session.header(visit.request),))


async def _code(visit: _Visit, session: Session | None, headers: Sequence[Header] = ()) -> Response:
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
        return pages.refused(None if request is None else request.scope, error, decision)
    issuer = request.snapshot.settings.issuer
    sent = response.parameters(error.target, issuer, error=error.error, error_description=error.description)
    return _answer(error.target, sent)


def _told(error: Exception) -> OAuthError:
    """A refusal that would have been a page, as a client is told it."""
    if isinstance(error, UnavailableError):
        return unavailable(error.reason)
    if isinstance(error, OAuthError) and error.error != "access_denied":
        return error
    return OAuthError("access_denied", "the person may not log in here", reason=getattr(error, "reason", ""))
