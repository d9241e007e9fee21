"""The page that asks a person who they are, and whether an application may have what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tailseal.domain.clients import redirects
from tailseal.oauth import clientmetadata
from tailseal.tokens.answers import Response
from tailseal.workers.idp import cookies, pages
from tailseal.workers.idp.visit import Visit

CONFIRM: Final = "/authorize/confirm"

_SAYS: Final = {
    "openid": "to know that it is you",
    "profile": "your name, login name and picture",
    "email": "your mail address",
    "groups": "your groups",
    "tailnet": "which device you use",
    "offline_access": "to stay logged in after you have logged out here",
}


def wants(scopes: Sequence[str], resources: Sequence[str], issuer: str) -> list[str]:
    """What a person is asked to let a client have."""
    services = [uri for uri in resources if uri != issuer]
    return [_SAYS.get(scope, scope) for scope in scopes] + [f"to use {uri} in your name" for uri in services]


def page(visit: Visit) -> Response:
    """The page; its form is bound to this browser, this person and this request."""
    request, asked, who = visit.request, visit.asked, visit.who
    token, headers = cookies.form(visit.runtime, request, *visit.bound)
    user = who.caller.user
    return pages.page(
        "login",
        headers=headers,
        to=pages.origin_of(asked.target.redirect_uri),
        title=f"Log in to {asked.client.name or asked.client.client_id}?",
        client=asked.client.client_id,
        person=user.display_name or user.login if user is not None else who.login,
        login=who.login,
        node=who.caller.node.name,
        host=redirects.host_of(asked.target.redirect_uri),
        other=bool(asked.login_hint) and asked.login_hint not in {who.login, who.caller.subject},
        local=bool(visit.asked.client.introduced) and clientmetadata.is_local(visit.asked.client),
        scopes=wants(visit.scopes, asked.resources, request.snapshot.settings.issuer) if visit.asks.consent else [],
        action=request.at(CONFIRM),
        request=visit.text,
        token=token,
    )
