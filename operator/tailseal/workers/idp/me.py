"""The page for people: who they are to us, what has access in their name, and a button to take it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from tailseal.domain.capability import MOST_TOLD, client
from tailseal.domain.clients.admission import uid_of
from tailseal.oauth import credentials
from tailseal.oauth.admission import Person
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.parameters import one
from tailseal.oauth.records import Consent, Login
from tailseal.oauth.registration import Registered
from tailseal.oauth.response import to
from tailseal.state.grants import Family
from tailseal.state.grants import Kind as Kept
from tailseal.tokens.answers import Response
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.idp import codes, cookies, pages
from tailseal.workers.idp.backchannel import Backchannel
from tailseal.workers.idp.callers import visitor
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request

END: Final = "/access/end"

_ID: Final = 32
"""Hexadecimal digits of a family's id."""


def endpoint(runtime: IdpRuntime) -> Endpoint:
    """`GET /`."""

    async def act(request: Request) -> Response:
        who = await visitor(runtime, request)
        owner = who.caller.subject
        token, headers = cookies.form(runtime, request, owner, "access")
        families = await runtime.grants.families(owner, codes.MOST_LOGINS_AT_ALL)
        return pages.page(
            "me",
            headers=headers,
            title="You, and what has access",
            who=_who(who),
            malformed=list(map(str, who.capabilities.malformed[:MOST_TOLD])),
            access=[_shown(family, who) for family in _counting(families, request.snapshot)],
            registered=[_client(each.content) for each in await runtime.grants.owned(Kept.REGISTERED, owner)],
            action=request.at(END),
            logout=request.at("/logout"),
            token=token,
        )

    kind = Kind("me", methods=frozenset({"GET", "HEAD"}), quiet=frozenset({"GET", "HEAD"}), says=pages.refused)
    return Endpoint(runtime, kind, act)


def ending(runtime: IdpRuntime, backchannel: Backchannel) -> Endpoint:
    """The buttons' answer."""

    async def act(request: Request) -> Response:
        who = await visitor(runtime, request)
        owner = who.caller.subject
        cookies.check_form(request, owner, "access")
        if client_id := one(request.form, "registered"):
            await _forget(runtime, owner, client_id)
        else:
            family = await _mine(runtime, owner, one(request.form, "family"))
            await _end(runtime, family)
            request.audit["client"] = Login.from_bytes(family.content).client_id
            await backchannel.tell(request, [family])
        return to(request.at("/"))

    return Endpoint(runtime, Kind("access", says=pages.refused), act)


async def _mine(runtime: IdpRuntime, owner: str, text: str) -> Family:
    identifier = bytes.fromhex(text) if len(text) == _ID and set(text) <= set("0123456789abcdef") else b""
    found = await runtime.grants.family(identifier) if identifier else None
    if found is None or found.owner != owner:
        raise OAuthError("not_found", "that has ended already, or was never yours", status=404)
    return found


async def _end(runtime: IdpRuntime, family: Family) -> None:
    """End it, and forget that its client was agreed to: it has to ask again."""
    await runtime.grants.end(family.id)
    for consent in await runtime.grants.owned(Kept.CONSENT, family.owner):
        if Consent.from_bytes(consent.content).client == family.client:
            await runtime.grants.remove(Kept.CONSENT, consent.digest)


async def _forget(runtime: IdpRuntime, owner: str, client_id: str) -> None:
    digest = credentials.digest(client_id)
    record = await runtime.grants.get(Kept.REGISTERED, digest)
    if record is None or record.owner != owner:
        raise OAuthError("not_found", "that client is gone already, or was never yours", status=404)
    await runtime.grants.remove(Kept.REGISTERED, digest)


def _who(who: Person) -> Sequence[tuple[str, str]]:
    caller = who.caller
    user = caller.user
    rows = [
        ("Name", (user.display_name or user.login) if user is not None else caller.node.name),
        ("Login", user.login if user is not None else "a machine"),
        ("Subject", caller.subject),
        ("Device", caller.node.name),
        ("Tags", " ".join(caller.node.tags)),
        ("Groups", " ".join(who.groups)),
    ]
    return [row for row in rows if row[1]]


def _counting(families: Sequence[Family], snapshot: Snapshot) -> Sequence[Family]:
    """Without those whose client was taken away since, and given back: they count nowhere."""
    present = {client.uid for client in snapshot.clients.values()}
    again = {uid_of(uid) for uid in present}
    return [each for each in families if each.client in present or uid_of(each.client) not in again]


def _shown(family: Family, who: Person) -> Mapping[str, Any]:
    login = Login.from_bytes(family.content)
    return {
        "family": family.id.hex(),
        "client": login.client_id,
        "scopes": " ".join(login.scopes),
        "differing": who.capabilities.faults(client(login.client_id)).get("differingClaims", []),
        "since": _day(login.auth_time),
        "until": _day(family.expires_at),
    }


def _client(content: bytes) -> Mapping[str, Any]:
    found = Registered.from_bytes(content)
    return {"id": found.client_id, "name": found.metadata.name or found.client_id, "until": _day(found.expires_at)}


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
