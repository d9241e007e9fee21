"""A person at an authorization request: everything that is read and known before anything is asked or given."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from tailseal.domain import capability
from tailseal.oauth import admission, authorize, credentials, login, logout, pushed
from tailseal.oauth.admission import Person
from tailseal.oauth.authorize import AuthorizationRequest, RedirectedError, Target
from tailseal.oauth.errors import OAuthError, unavailable
from tailseal.oauth.login import Asks, Seen
from tailseal.oauth.parameters import Form, one
from tailseal.oauth.records import Consent, consent_handle
from tailseal.state.grants import Kind as Kept
from tailseal.state.protocol import StateUnavailable
from tailseal.tailnet.errors import NobodyError, UnavailableError
from tailseal.workers.idp import callers, pages, par, sessions, signing
from tailseal.workers.idp.codes import subject
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Request
from tailseal.workers.idp.sessions import Session


@dataclass(frozen=True, slots=True)
class Visit:
    """A request whose answer has a place to go, and whoever brought it.

    Args:
        runtime: ports of the endpoint.
        request: by which it came.
        form: the authorization request as it is repeated in a form.
        asked: what it asks for.
        who: is at the browser.
        scopes: that they would grant.
        session: of the browser; None: there is none of theirs.
        asks: what they have to be asked first.
    """

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

    @property
    def bound(self) -> tuple[str, ...]:
        """What a form is about."""
        return self.who.caller.node.stable_id, self.who.caller.subject, self.text


async def read(runtime: IdpRuntime, request: Request, found: Form) -> Visit:
    """Read everything.

    Args:
        runtime: ports of the endpoint.
        request: by which it came.
        found: the authorization request.

    Raises:
        RedirectedError: the client is told.
        OAuthError: there is nowhere to tell it, or it is for the person.
        NobodyError: nobody that the tailnet knows is calling.
        UnavailableError: nobody can say who it is.
    """
    await pages.ready()
    form, where = await _target(runtime, found)
    request.audit["client"] = where.client.client_id
    asked = authorize.read(form, where, request.snapshot.settings)
    try:
        who = await callers.visitor(runtime, request, capability.client(where.client.client_id))
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


async def _seen(runtime: IdpRuntime, request: Request, form: Form, asked: AuthorizationRequest, who: Person) -> Visit:
    scopes = admission.granted(asked.client, who, asked.scopes)
    sub = subject(request.snapshot, asked.client, who)
    login.check_wishes(asked, sub)
    if hint := one(form, "id_token_hint"):
        about = logout.hint(hint, signing.published(request.snapshot), request.snapshot.settings)
        login.check_hint(about.subject, sub)
    session = await sessions.present(runtime, request, who)
    agreed = await _agreed_before(runtime, asked, who)
    seen = Seen(None if session is None else session.browser, agreed, request.now)
    return Visit(runtime, request, form, asked, who, scopes, session, login.asks(asked, who, scopes, seen))


async def _agreed_before(runtime: IdpRuntime, asked: AuthorizationRequest, who: Person) -> frozenset[str]:
    if asked.client.namespace:
        return frozenset()
    handle = consent_handle(who.caller.subject, asked.client, asked.target.redirect_uri, asked.resources)
    digest = credentials.digest(handle)
    record = await runtime.grants.get(Kept.CONSENT, digest)
    return frozenset() if record is None else frozenset(Consent.from_bytes(record.content).scopes)


def _told(error: Exception) -> OAuthError:
    """A refusal that would have been a page, as a client is told it."""
    if isinstance(error, UnavailableError):
        return unavailable(error.reason)
    if isinstance(error, OAuthError) and error.error != "access_denied":
        return error
    return OAuthError("access_denied", "the person may not log in here", reason=getattr(error, "reason", ""))
