"""The grants of the token endpoint: for a code, a refresh token, a device, and to a client by itself.

Whatever counts once is used last, together with what follows it: what could go wrong before has gone wrong by then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tailseal.domain import capability
from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import admission, code, credentials, device, parameters, refresh
from tailseal.oauth.accesstoken import Terms
from tailseal.oauth.admission import Person
from tailseal.oauth.errors import OAuthError, unavailable
from tailseal.oauth.records import Code, Login, Refreshing
from tailseal.state.grants import Family, Kind, Record
from tailseal.tailnet.errors import NobodyError
from tailseal.tokens.answers import Response
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.idp import callers, codes, issuing, proof
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Request
from tailseal.workers.idp.issuing import Grant, Made

if TYPE_CHECKING:
    from collections.abc import Callable

Client = CompiledClient


async def by_code(runtime: IdpRuntime, request: Request, client: Client) -> Response:
    """For an authorization code (RFC 6749 section 4.1.3)."""
    digest = credentials.digest(request.required("code"))
    record, waiting = await _kept(runtime, request, Kind.CODE, digest, client, code.unknown)
    kept, login = Code.from_bytes(record.content), Login.from_bytes(waiting.content)
    jkt = await proof.proven(runtime, request)
    code.check(kept, request.form, jkt)
    resources = _resources(request, client, login)
    who = await still(runtime, request.snapshot, client, waiting, login, request.audit)
    bound = jkt if client.public else ""
    family = codes.begun(waiting)
    scopes = admission.kept(client, who, login.scopes)
    grant = Grant(client, family, login, who, scopes, resources, jkt, bound, kept.nonce)
    made = await issuing.of_login(runtime, request, grant)
    answer = await _used(runtime, client, record, replace(made, records=()), code.unknown)
    await runtime.grants.put(made.records, family)
    if await runtime.grants.family(waiting.id) is None:  # replayed or logged out in between, before there was anything
        await runtime.grants.end(family.id)
        raise code.unknown()
    await codes.bound_logins(runtime, family)
    return answer


async def by_refresh(runtime: IdpRuntime, request: Request, client: Client) -> Response:
    """For a refresh token (RFC 6749 section 6), which is another one from now on (RFC 9700 section 4.14.2)."""
    digest = credentials.digest(request.required("refresh_token"))
    record, family = await _kept(runtime, request, Kind.REFRESH, digest, client, refresh.unknown)
    kept, login = Refreshing.from_bytes(record.content), Login.from_bytes(family.content)
    jkt = await proof.proven(runtime, request)
    refresh.check_key(kept, jkt)
    scopes = refresh.scopes(login, request.form)
    resources = _resources(request, client, login)
    who = await still(runtime, request.snapshot, client, family, login, request.audit)
    grant = Grant(client, family, login, who, admission.kept(client, who, scopes), resources, jkt, kept.jkt)
    made = await issuing.of_login(runtime, request, grant)
    return await _used(runtime, client, record, made, refresh.unknown)


async def by_client(runtime: IdpRuntime, request: Request, client: Client) -> Response:
    """To a client in its own name (RFC 6749 section 4.4)."""
    if client.public:
        raise OAuthError("unauthorized_client", "a public client proves nothing, so it gets nothing in its own name")
    asked = parameters.scopes(request.form)
    allowed = client.scopes.difference(admission.SCOPES)  # which are about people
    if not set(asked) <= allowed:
        raise OAuthError("invalid_scope", "the client may not have one of the scopes in its own name")
    ours = request.snapshot.settings.issuer
    resources = refresh.resources((*sorted(client.audiences), ours), request.form)
    asked_for = resources if "resource" in request.form else ()
    jkt = await proof.proven(runtime, request)
    terms = Terms(ours, client.client_id, asked, asked_for, jkt=jkt)
    made = await issuing.access(runtime, request, client, terms)
    if made.records:
        await runtime.grants.put(made.records)
    return made.response()


async def by_device(runtime: IdpRuntime, request: Request, client: Client) -> Response:
    """For a device code (RFC 8628 section 3.4), once a person has said yes."""
    digest = credentials.digest(request.required("device_code"))
    record = await runtime.grants.get(Kind.DEVICE, digest)
    if record is None:
        raise _device_unknown()
    found, refusal = device.polled(device.Device.from_bytes(record.content), client, request.now)
    if refusal is not None:
        await runtime.grants.replace(record, device.kept(record, found))
        raise refusal
    family = await runtime.grants.family(record.family)
    if family is None:
        raise _device_unknown()
    login = Login.from_bytes(family.content)
    jkt = await proof.proven(runtime, request)
    who = await still(runtime, request.snapshot, client, family, login, request.audit)
    bound = jkt if client.public else ""
    scopes = admission.kept(client, who, login.scopes)
    grant = Grant(client, family, login, who, scopes, _resources(request, client, login), jkt, bound)
    made = await issuing.of_login(runtime, request, grant)
    return await _used(runtime, client, record, made, _device_unknown)


async def still(
    runtime: IdpRuntime, snapshot: Snapshot, client: Client, family: Family, login: Login, audit: dict[str, Any]
) -> Person:
    """Who it is by now that logged in, as Tailscale says and not as it was; else the login ends.

    Args:
        runtime: asks who it is.
        snapshot: under which it is decided.
        client: that they logged in to.
        family: that the login began.
        login: that it is.
        audit: is told what of their app capabilities counts for nothing.

    Raises:
        OAuthError: `invalid_grant`: they are gone, another, or may not log in there any more.
            Or `temporarily_unavailable`: nobody can say; the login stays.
        UnavailableError: likewise.
    """
    try:
        who = await callers.person_again(runtime, login.known, snapshot)
        audit.update(who.capabilities.faults(capability.client(client.client_id)))
        admission.check(client, who)
    except NobodyError:
        await runtime.grants.end(family.id)
        raise refresh.gone() from None
    except OAuthError as error:
        if error.reason != "LoginNotAllowed":
            raise
        if not snapshot.settings.capability:  # beside workers of a former release nobody can say what it allows
            raise unavailable("CapabilityUnsaid") from None
        await runtime.grants.end(family.id)
        raise refresh.gone() from None
    return who


async def _kept(
    runtime: IdpRuntime,
    request: Request,
    kind: Kind,
    digest: bytes,
    client: Client,
    unknown: Callable[[], OAuthError],
) -> tuple[Record, Family]:
    """What is kept, and its family, if both are this client's; who shows it a second time ends all that came of it."""
    record = await runtime.grants.get(kind, digest)
    if record is None:
        taken = await runtime.grants.use(kind, digest)
        if taken is not None and not taken.first:
            request.audit["replayed"] = await _end(runtime, taken.record, client)
        raise unknown()
    family = await runtime.grants.family(record.family)
    if family is None or family.client != client.uid:
        raise unknown()
    return record, family


async def _used(
    runtime: IdpRuntime, client: Client, record: Record, made: Made, unknown: Callable[[], OAuthError]
) -> Response:
    """The answer, if nobody was faster."""
    await _check_client(runtime, client)
    taken = await runtime.grants.use(record.kind, record.digest, made.records)
    if taken is None:
        raise unknown()
    if not taken.first:
        await _end_both(runtime, record)
        raise unknown()
    return made.response()


async def _check_client(runtime: IdpRuntime, client: Client) -> None:
    """That it was not taken away while others were waited for."""
    present = await runtime.find_client(client.client_id)
    if present is None or present.uid != client.uid:
        raise OAuthError("invalid_client", "there is no such client any more", status=401)


async def _end(runtime: IdpRuntime, record: Record, client: Client) -> bool:
    """Somebody has what was used: with the client's own proof, so one of both is a thief (RFC 9700 section 4.14.2)."""
    family = await runtime.grants.family(record.family)
    if family is None or family.client != client.uid:
        return False
    await _end_both(runtime, record)
    return True


async def _end_both(runtime: IdpRuntime, record: Record) -> None:
    """The family, and the one that may have begun with it, in this order: see where a login begins."""
    await runtime.grants.end(record.family)
    if record.kind is Kind.CODE:
        await runtime.grants.end(codes.begun_id(record.family))


def _resources(request: Request, client: Client, login: Login) -> tuple[str, ...]:
    """What the access token is for: of what was granted or, where that is nothing, of what the client may have.

    A client that introduced itself may have no more than its person saw; and nobody has what was taken from the client.
    """
    ours = request.snapshot.settings.issuer
    present = {*client.audiences, ours}
    granted = tuple(uri for uri in login.resources if uri in present)
    if login.resources and not granted:
        raise OAuthError("invalid_target", "the client may not have tokens for what was granted any more")
    if login.resources or "resource" not in request.form:
        return refresh.resources(granted, request.form)
    return refresh.resources((ours,) if client.introduced else (*sorted(client.audiences), ours), request.form)


def _device_unknown() -> OAuthError:
    return OAuthError("invalid_grant", "the device code is not one of this client's, or was used before")
