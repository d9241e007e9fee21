"""Gives authorization codes, each in one write with whatever the person has just said.

A code has a family for itself, which lasts little longer: what was never fetched holds no room for weeks. The login's
own family begins when the code is redeemed, under an id that follows from the former.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from tailseal.domain.bundle.model import Settings
from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import code, credentials
from tailseal.oauth.admission import Person
from tailseal.oauth.authorize import AuthorizationRequest
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.records import Code, Consent, consent_handle
from tailseal.oauth.records import Login as Kept
from tailseal.oauth.subject import salt_of, subject_for
from tailseal.state.grants import Family, Kind, Record
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Request
from tailseal.workers.idp.sessions import Session

FAMILY_BYTES = 16

_REST = 60
"""Seconds for which a code's replay is still seen after it has expired."""

MOST_LOGINS = 32
"""Logins of one person at one client: applications that log in anew every few minutes would fill the store."""

MOST_LOGINS_AT_ALL = 500
MOST_SESSIONS = 32
MOST_CONSENTS = 200
"""Of one person."""

_LISTED = 1000

CONSENT_SECONDS = 365 * 86_400
"""How long a client that registered itself need not ask again."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a person gives a client.

    Args:
        asked: the client's request.
        who: they are.
        scopes: that they grant.
        session: of their browser.
    """

    asked: AuthorizationRequest
    who: Person
    scopes: tuple[str, ...]
    session: Session


async def issue(runtime: IdpRuntime, request: Request, given: Login, *, new: bool, consent: bool) -> str:
    """A code.

    Args:
        runtime: where it is kept.
        request: that it answers.
        given: what it stands for.
        new: whether the session has to be kept, too.
        consent: whether the person agreed just now.

    Raises:
        OAuthError: the session has ended meanwhile, or the person draws codes faster than anybody logs in.
        StateUnavailable: it cannot be kept.
    """
    asked, settings = given.asked, request.snapshot.settings
    kept = _login(given, request)
    runtime.room.take("code", kept.owner)
    handle = credentials.handle(runtime.random(credentials.RANDOM_BYTES))
    family = _waiting(kept, asked.client.uid, given.session.digest, runtime.random(FAMILY_BYTES), request.now)
    content = Code(asked.target.redirect_uri, asked.code_challenge, asked.nonce, asked.jkt).to_bytes()
    records = [
        Record(Kind.CODE, credentials.digest(handle), content, request.now + code.SECONDS, family.id, kept.owner)
    ]
    if new:
        records.append(given.session.record())
    if consent and not asked.client.namespace:
        records.append(_consent(given, kept, request.now))
    await runtime.grants.put(records, family)
    if await runtime.grants.get(Kind.SESSION, given.session.digest) is None:  # who logs out at this moment is out
        await runtime.grants.end(family.id)
        raise OAuthError("login_required", "the browser's session has just ended", reason="SessionEnded")
    await _bound(runtime, kept.owner, new=new, consent=consent)
    request.audit.update(scope=" ".join(kept.scopes), audience=kept.resources or (settings.issuer,))
    return handle


async def bound_logins(runtime: IdpRuntime, family: Family) -> None:
    """Of more logins of one person than anybody needs, at one client or at all, the oldest end.

    Args:
        runtime: where they are kept.
        family: that has just begun.
    """
    listed = await runtime.grants.families(family.owner, _LISTED)
    same = [each for each in listed if each.client == family.client]
    for each in {each.id: each for each in (*same[MOST_LOGINS:], *listed[MOST_LOGINS_AT_ALL:])}:
        await runtime.grants.end(each)


async def _bound(runtime: IdpRuntime, owner: str, *, new: bool, consent: bool) -> None:
    """Of more sessions, or more that was agreed to, than anybody has browsers and clients, the oldest end."""
    if new:
        for each in (await runtime.grants.owned(Kind.SESSION, owner, _LISTED))[MOST_SESSIONS:]:
            await runtime.grants.end_session(each.digest)
    if consent:
        for each in (await runtime.grants.owned(Kind.CONSENT, owner, _LISTED))[MOST_CONSENTS:]:
            await runtime.grants.remove(Kind.CONSENT, each.digest)


def _waiting(kept: Kept, client: str, session: bytes, identifier: bytes, now: float) -> Family:
    """The code's own family: nobody's, so that it is in no list; it ends with the browser's session."""
    return Family(identifier, "", client, session, kept.to_bytes(), now + code.SECONDS + _REST)


def begun(waiting: Family) -> Family:
    """The login's family."""
    return family_of(Kept.from_bytes(waiting.content), waiting.client, waiting.session, begun_id(waiting.id))


def family_of(kept: Kept, client: str, session: bytes, identifier: bytes) -> Family:
    """The family of a login; it outlives the browser's session if the person granted `offline_access`.

    Args:
        kept: its content.
        client: object uid of the client.
        session: digest of the browser's session; empty: there is none.
        identifier: random.
    """
    outlives = "offline_access" in kept.scopes
    return Family(identifier, kept.owner, client, b"" if outlives else session, kept.to_bytes(), kept.expires_at)


def begun_id(waiting: bytes) -> bytes:
    """Id of the family that begins with a code: whoever redeems it twice ends it, known or not."""
    return sha256(waiting).digest()[:FAMILY_BYTES]


def subject(snapshot: Snapshot, client: CompiledClient, who: Person) -> str:
    """`sub` as the client sees it."""
    return subject_for(client, who.caller.subject, salt_of(snapshot.signing.salt))


def seconds(client: CompiledClient, settings: Settings) -> int:
    """How long a login lasts once its tokens were fetched."""
    if "refresh_token" in client.grant_types:
        return settings.refresh_token_ttl
    return settings.access_token_ttl + settings.id_token_ttl


def _login(given: Login, request: Request) -> Kept:
    asked, who, browser = given.asked, given.who, given.session.browser
    return Kept(
        subject=subject(request.snapshot, asked.client, who),
        owner=who.caller.subject,
        client_id=asked.client.client_id,
        known=who.caller.known,
        scopes=given.scopes,
        resources=asked.resources,
        auth_time=browser.auth_time,
        sid=browser.sid,
        claims=asked.wishes.text,
        expires_at=request.now + code.SECONDS + seconds(asked.client, request.snapshot.settings),
    )


def _consent(given: Login, kept: Kept, now: float) -> Record:
    client, where = given.asked.client, given.asked.target.redirect_uri
    content = Consent(client.uid, kept.scopes).to_bytes()
    digest = credentials.digest(consent_handle(kept.owner, client, where, kept.resources))
    return Record(Kind.CONSENT, digest, content, now + CONSENT_SECONDS, owner=kept.owner)
