"""The browser's session at our pages: whose it is, if it is still the caller's."""

from __future__ import annotations

from typing import NamedTuple

from tailseal.oauth import credentials
from tailseal.oauth.records import Browser
from tailseal.state.grants import Kind
from tailseal.workers.idp import cookies
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Request


class Session(NamedTuple):
    """A session, and what it is kept under."""

    digest: bytes
    browser: Browser


async def session_of(runtime: IdpRuntime, request: Request) -> Session | None:
    """The session of the request's cookie; None: there is none, or it has ended.

    Raises:
        StateUnavailable: nobody can say.
    """
    cookie = cookies.read(request.scope, request.snapshot.settings, cookies.SESSION)
    if not cookie:
        return None
    digest = credentials.digest(cookie)
    record = await runtime.grants.get(Kind.SESSION, digest)
    return Session(digest, Browser.from_bytes(record.content)) if record is not None else None
