"""Sessions of browsers: begun where a person confirms who they are, and theirs alone at the node where they did."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from tailseal.domain.keys.public import base64url
from tailseal.oauth import credentials
from tailseal.oauth.admission import Person
from tailseal.oauth.login import SESSION_SECONDS
from tailseal.oauth.parameters import Form
from tailseal.oauth.records import Browser
from tailseal.oauth.response import to
from tailseal.state.grants import Kind, Record
from tailseal.tokens.answers import Header, Response
from tailseal.workers.idp import cookies
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Request

_SID_BYTES = 16
_LONGEST_URL = 6000


@dataclass(frozen=True, slots=True)
class Session:
    """A browser's session.

    Args:
        handle: what the browser holds.
        browser: what is kept.
    """

    handle: str = field(repr=False)
    browser: Browser

    @property
    def digest(self) -> bytes:
        """What it is kept under."""
        return credentials.digest(self.handle)

    def record(self) -> Record:
        """As it is kept."""
        until = self.browser.auth_time + SESSION_SECONDS
        return Record(Kind.SESSION, self.digest, self.browser.to_bytes(), until, owner=self.browser.owner)

    def header(self, request: Request) -> Header:
        """Puts it into the browser."""
        return cookies.written(request.snapshot.settings, cookies.SESSION, self.handle, SESSION_SECONDS)


def by_get(request: Request, form: Form) -> Response | None:
    """The same by GET, where another site posted to us: browsers send us our cookie only then.

    Args:
        request: that came.
        form: what it asks for.
    """
    location = f"{request.url}?{urlencode(dict(form), doseq=True)}"
    if request.method != "POST" or cookies.read(request, cookies.SESSION) or len(location) > _LONGEST_URL:
        return None
    request.audit["result"] = "asked"
    return to(location)


async def session_of(runtime: IdpRuntime, request: Request) -> Session | None:
    """The session of this browser, whoever calls; None: there is none, or it has ended.

    Raises:
        StateUnavailable: nobody can say.
    """
    handle = cookies.read(request, cookies.SESSION)
    record = await runtime.grants.get(Kind.SESSION, credentials.digest(handle)) if handle else None
    return Session(handle, Browser.from_bytes(record.content)) if record is not None else None


async def present(runtime: IdpRuntime, request: Request, who: Person) -> Session | None:
    """The session of this browser; None: there is none, or it is somebody else's or of another node.

    Raises:
        StateUnavailable: nobody can say.
    """
    found = await session_of(runtime, request)
    return found if found is not None and found.browser.known.is_of(who.caller) else None


def confirmed(runtime: IdpRuntime, former: Session | None, who: Person, now: float) -> Session:
    """The session after the person confirmed who they are: the former one from now on, or a new one."""
    if former is not None:
        return replace(former, browser=replace(former.browser, known=who.caller.known, auth_time=int(now)))
    browser = Browser(who.caller.known, who.caller.subject, int(now), base64url(runtime.random(_SID_BYTES)))
    return Session(credentials.handle(runtime.random(credentials.RANDOM_BYTES)), browser)
