"""`/logout` (OpenID Connect RP-Initiated Logout 1.0): ends a browser's session, at once for its own applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from tailseal.oauth import logout
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.logout import Hint, Return
from tailseal.oauth.parameters import Form, one
from tailseal.oauth.records import Login
from tailseal.oauth.response import to
from tailseal.tokens import form as forms
from tailseal.tokens.answers import Response
from tailseal.workers.idp import codes, cookies, pages, signing
from tailseal.workers.idp.backchannel import Backchannel
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request
from tailseal.workers.idp.sessions import Session, by_get, session_of

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient

CONFIRM: Final = "/logout/confirm"

_METHODS: Final = frozenset({"GET", "POST"})


def endpoint(runtime: IdpRuntime, backchannel: Backchannel) -> Endpoint:
    """`/logout`."""

    async def act(request: Request) -> Response:
        found, client, back = await _wish(runtime, request, request.form)
        if again := by_get(request, request.form):
            return again
        session = await session_of(runtime, request)
        if session is None:
            return _done(request, back)
        request.audit["subject"] = session.browser.owner
        if found is None or found.sid != session.browser.sid:
            request.audit["result"] = "asked"
            return _page(runtime, request, session, client)
        return await _end(runtime, backchannel, request, session, back)

    return Endpoint(runtime, Kind("logout", methods=_METHODS, says=pages.refused), act)


def confirmation(runtime: IdpRuntime, backchannel: Backchannel) -> Endpoint:
    """The form's answer."""

    async def act(request: Request) -> Response:
        text = one(request.form, "request")
        try:
            asked = forms.parse(text.encode())
        except (forms.FormError, UnicodeEncodeError):
            raise OAuthError("invalid_request", "the form is not one of ours") from None
        session = await session_of(runtime, request)
        _, _, back = await _wish(runtime, request, asked)
        if session is None:
            return _done(request, back)
        request.audit["subject"] = session.browser.owner
        cookies.check_form(request, "logout", session.digest.hex(), text)
        if one(request.form, "answer") != "yes":
            request.audit["result"] = "refused"
            return pages.page("message", title="You are still logged in", text="Nothing was changed.")
        return await _end(runtime, backchannel, request, session, back)

    return Endpoint(runtime, Kind("logout", says=pages.refused), act)


async def _wish(
    runtime: IdpRuntime, request: Request, form: Form
) -> tuple[Hint | None, CompiledClient | None, Return | None]:
    """What is asked for: by whom, and where to go on to."""
    token, settings = one(form, "id_token_hint"), request.snapshot.settings
    found = logout.hint(token, signing.published(request.snapshot), settings) if token else None
    client_id = logout.client_id_of(found, one(form, "client_id"))
    client = await runtime.find_client(client_id) if client_id else None
    if client is None and found is None and client_id:
        raise OAuthError("invalid_request", "no such client is known here", reason="UnknownClient")
    if client is not None:
        request.audit["client"] = client.client_id
    return found, client, logout.back(client, one(form, "post_logout_redirect_uri"), one(form, "state"))


async def _end(
    runtime: IdpRuntime, backchannel: Backchannel, request: Request, session: Session, back: Return | None
) -> Response:
    """End the session and what belongs to it; applications are told, also those that may go on without it."""
    begun = await runtime.grants.families(session.browser.owner, codes.MOST_LOGINS_AT_ALL)
    kept = [family for family in begun if Login.from_bytes(family.content).sid == session.browser.sid]
    ended = await runtime.grants.end_session(session.digest)
    request.audit["ended"] = len(ended)
    request.audit["told"] = await backchannel.tell(
        request, [*{family.id: family for family in (*kept, *ended)}.values()]
    )
    return _done(request, back)


def _done(request: Request, back: Return | None) -> Response:
    gone = cookies.written(request.snapshot.settings, cookies.SESSION, "", 0)
    if back is not None:
        return to(back.location, gone)
    return pages.page("message", headers=(gone,), title="You are logged out", text="You can close this window.")


def _page(runtime: IdpRuntime, request: Request, session: Session, client: CompiledClient | None) -> Response:
    text = urlencode({name: values[0] for name, values in request.form.items()})
    token, headers = cookies.form(runtime, request, "logout", session.digest.hex(), text)
    return pages.page(
        "logout",
        headers=headers,
        title="Log out?",
        client=client.name if client is not None else "",
        action=request.at(CONFIRM),
        request=text,
        token=token,
        to=pages.origin_of(uri) if (uri := one(request.form, "post_logout_redirect_uri")) else "",
    )
