"""Devices without a browser (RFC 8628): `POST /device_authorization` for them, `/device` for the person who has one."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

import orjson

from tailseal.oauth import admission, credentials, device, parameters
from tailseal.oauth.device import Device
from tailseal.oauth.errors import OAuthError, limited, unavailable
from tailseal.oauth.records import Login
from tailseal.state.grants import Family, Record
from tailseal.state.grants import Kind as Kept
from tailseal.tokens.answers import JSON, Response
from tailseal.workers.common.limits.bucket import Limiter
from tailseal.workers.idp import codes, cookies, pages
from tailseal.workers.idp.anonymous import Anonymous
from tailseal.workers.idp.asking import wants
from tailseal.workers.idp.authenticated import client_of
from tailseal.workers.idp.callers import visitor
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient
    from tailseal.oauth.admission import Person

RATE: Final = 1 / 30
BURST: Final = 10
"""Codes that one person may try: ten, then one in half a minute. With 20^8 of them, none of 10,000 is ever guessed."""

DEVICES_RATE: Final = 0.5
DEVICES_BURST: Final = 50
"""Devices that one source may begin with in the name of public clients: no more than 650 of its wait at a time."""

_PEOPLE: Final = 16_384
_TRIES: Final = 3


def authorization(runtime: IdpRuntime) -> Endpoint:
    """`POST /device_authorization`."""
    anonymous = Anonymous(DEVICES_RATE, DEVICES_BURST)

    async def act(request: Request) -> Response:
        client = await client_of(runtime, request)
        device.may_ask(client)
        scopes, resources = parameters.scopes(request.form), parameters.resources(request.form)
        if not set(scopes) & set(admission.SCOPES) <= client.scopes | {"offline_access"}:
            raise OAuthError("invalid_scope", "the client may not ask for one of the scopes")
        if not set(resources) <= client.audiences | {request.snapshot.settings.issuer}:
            raise OAuthError("invalid_target", "the client may not have tokens for that `resource`")
        anonymous.admit(request, client)
        asked = Device(client.uid, client.client_id, scopes, resources, request.now + device.SECONDS)
        code, user_code = credentials.handle(runtime.random(credentials.RANDOM_BYTES)), await _fresh(runtime)
        await runtime.grants.put(device.records(asked, code, user_code))
        answer = device.answer(request.snapshot.settings.issuer, code, user_code)
        return Response(200, orjson.dumps(answer), JSON)

    kind = Kind("device_authorization", cors=True, repeatable=parameters.REPEATABLE)
    return Endpoint(runtime, kind, act)


def page(runtime: IdpRuntime) -> Endpoint:
    """`GET` and `POST /device`."""
    limiter = Limiter(RATE, BURST, _PEOPLE)

    async def act(request: Request) -> Response:
        who = await visitor(runtime, request)
        typed = device.typed(request.one("user_code"))
        if request.method != "POST":
            return _asked(runtime, request, who, typed)
        cookies.check_form(request, who.caller.subject, "device", typed if request.one("answer") else "")
        found = await _looked_up(runtime, limiter, who, typed)
        client = await runtime.find_client(found[1].client_id) if found is not None else None
        if found is None or client is None or client.uid != found[1].client:
            return _asked(runtime, request, who, typed, wrong=True)
        request.audit["client"] = client.client_id
        admission.check(client, who)
        scopes = admission.granted(client, who, found[1].scopes)
        if not request.one("answer"):
            wanted = wants(scopes, found[1].resources, request.snapshot.settings.issuer)
            return _confirm(runtime, request, who, client, typed, wanted)
        approved = request.one("answer") == "yes"
        request.audit["approved"] = approved
        await _settle(runtime, request, client, who, found, scopes if approved else None)
        await runtime.grants.remove(Kept.USER_CODE, credentials.digest(typed))
        return pages.page("device_done", title="Done", approved=approved, client=client.name)

    kind = Kind("device", methods=frozenset({"GET", "POST"}), quiet=frozenset({"GET"}), says=pages.refused)
    return Endpoint(runtime, kind, act)


async def _fresh(runtime: IdpRuntime) -> str:
    """A user code that nobody has now."""
    for _ in range(_TRIES):
        code = device.user_code(runtime.random(device.RANDOM_BYTES))
        if await runtime.grants.get(Kept.USER_CODE, credentials.digest(code)) is None:
            return code
    raise unavailable("UserCodesTaken")  # pragma: no cover - three collisions in 20^8


async def _looked_up(runtime: IdpRuntime, limiter: Limiter, who: Person, typed: str) -> tuple[Record, Device] | None:
    if wait := limiter.take(who.caller.subject, monotonic()):
        raise limited(wait, "you tried many codes: wait a little", "UserCodeLimited")
    way = await runtime.grants.get(Kept.USER_CODE, credentials.digest(typed)) if typed else None
    record = await runtime.grants.get(Kept.DEVICE, way.content) if way is not None else None
    found = Device.from_bytes(record.content) if record is not None else None
    if record is None or found is None or found.state != "pending":
        return None
    limiter.give_back(who.caller.subject, monotonic())
    return record, found


async def _settle(
    runtime: IdpRuntime,
    request: Request,
    client: CompiledClient,
    who: Person,
    found: tuple[Record, Device],
    scopes: tuple[str, ...] | None,
) -> None:
    """Keep what the person said; no scopes: no. A poll of the device may come in between."""
    family = _family(runtime, request, client, who, found[1], scopes) if scopes is not None else None
    if family is not None:
        await runtime.grants.put([], family)
    record: Record | None = found[0]
    for _ in range(_TRIES):
        if record is None or Device.from_bytes(record.content).state != "pending":
            break  # used, or somebody else was faster: what they said stays
        if await runtime.grants.replace(record, device.settled(record, family)):
            if family is not None:
                await codes.bound_logins(runtime, family)
            return
        record = await runtime.grants.get(Kept.DEVICE, record.digest)
    if family is not None:
        await runtime.grants.end(family.id)
    raise unavailable("DeviceBusy")


def _family(
    runtime: IdpRuntime,
    request: Request,
    client: CompiledClient,
    who: Person,
    found: Device,
    scopes: tuple[str, ...],
) -> Family:
    """What the person gives to the device's client: it stands by itself, for no browser was logged in."""
    login = Login(
        subject=codes.subject(request.snapshot, client, who),
        owner=who.caller.subject,
        client_id=client.client_id,
        known=who.caller.known,
        scopes=scopes,
        resources=found.resources,
        auth_time=int(request.now),
        sid="",
        claims="",
        expires_at=found.expires_at + codes.seconds(client, request.snapshot.settings),
    )
    return codes.family_of(login, client.uid, b"", runtime.random(codes.FAMILY_BYTES))


def _asked(runtime: IdpRuntime, request: Request, who: Person, typed: str, *, wrong: bool = False) -> Response:
    token, headers = cookies.form(runtime, request, who.caller.subject, "device", "")
    return pages.page(
        "device",
        404 if wrong else 200,
        headers=headers,
        title="Connect a device",
        action="device",
        token=token,
        typed=typed,
        wrong=wrong,
    )


def _confirm(
    runtime: IdpRuntime, request: Request, who: Person, client: CompiledClient, typed: str, wanted: Sequence[str]
) -> Response:
    token, headers = cookies.form(runtime, request, who.caller.subject, "device", typed)
    return pages.page(
        "device_confirm",
        headers=headers,
        title="Connect this device?",
        action="device",
        token=token,
        typed=typed,
        client=client.name,
        client_id=client.client_id,
        login=who.login,
        scopes=wanted,
    )
