"""Cookies of people's browsers, and proof that a form was ours: nothing of it is kept before somebody confirmed."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from tailseal.domain.bundle.model import Settings
from tailseal.domain.keys.public import base64url
from tailseal.oauth import credentials
from tailseal.oauth.errors import OAuthError
from tailseal.tokens import compact
from tailseal.tokens.answers import Header
from tailseal.tokens.errors import TokenError
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http.wire import Scope
from tailseal.workers.idp.context import IdpRuntime

SESSION: Final = "tailseal-session"
VISIT: Final = "tailseal-visit"
"""What a form is bound to: it says nothing of who somebody is."""

FORM_SECONDS: Final = 3600
"""How long somebody may look at a form."""

_LONGEST: Final = 128
_STAMP_BYTES: Final = 5


def read(scope: Scope, settings: Settings, name: str) -> str:
    """A cookie's value, or an empty text; of several of one name, none counts.

    Pairs are divided as browsers write them, and by nothing else: a comma or an odd blank is part of what neighbours
    may set, and what they set must never read as a name that only we can set.
    """
    wanted = _name(settings, name).encode()
    lines = (value for key, value in scope["headers"] if key == b"cookie")
    pairs = (pair.strip(b" \t").partition(b"=") for line in lines for pair in line.split(b";"))
    found = [value for key, _, value in pairs if key == wanted]
    return found[0].decode() if len(found) == 1 and 0 < len(found[0]) <= _LONGEST and found[0].isascii() else ""


def written(settings: Settings, name: str, value: str, seconds: int) -> Header:
    """A header that sets a cookie for our host alone; seconds 0 take it away.

    Over plain http, which is for one's own machine, browsers refuse the prefix that says so.
    """
    secure = "; Secure" if _is_secure(settings) else ""
    text = f"{_name(settings, name)}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"
    return b"set-cookie", f"{text}; Max-Age={seconds}".encode()


def visit(runtime: IdpRuntime, scope: Scope, settings: Settings) -> tuple[str, tuple[Header, ...]]:
    """What forms are bound to in this browser, and the header that puts it there if it is not."""
    if found := read(scope, settings, VISIT):
        return found, ()
    made = credentials.handle(runtime.random(credentials.RANDOM_BYTES))
    return made, (written(settings, VISIT, made, FORM_SECONDS),)


def form_token(snapshot: Snapshot, bound: Iterable[str], now: float) -> str:
    """Proof that we made a form.

    Args:
        snapshot: whose key makes it.
        bound: what it holds for: the visit, whoever calls, and what the form is about.
        now: Unix seconds.
    """
    stamp = int(now).to_bytes(_STAMP_BYTES, "big")
    return base64url(stamp + _tag(snapshot, stamp, bound))


def check_form(snapshot: Snapshot, token: str, bound: Iterable[str], now: float) -> None:
    """See that we made a form, for this browser and this person, not too long ago.

    Raises:
        OAuthError: we did not.
    """
    try:
        content = compact.decode(token.encode("ascii"))
    except (TokenError, UnicodeEncodeError):
        content = b""
    stamp = content[:_STAMP_BYTES]
    fresh = 0 <= now - int.from_bytes(stamp, "big") <= FORM_SECONDS
    if not hmac.compare_digest(content[_STAMP_BYTES:], _tag(snapshot, stamp, bound)) or not fresh:
        text = "this page has expired, or was not opened in this browser: go back to the application and begin again"
        raise OAuthError("access_denied", text, status=403, reason="FormNotOurs")


def _tag(snapshot: Snapshot, stamp: bytes, bound: Iterable[str]) -> bytes:
    key = hmac.digest(snapshot.signing.status_key, b"tailseal forms 1", sha256)
    parts = b"".join(sha256(part.encode()).digest() for part in bound)
    return hmac.digest(key, stamp + parts, sha256)


def _is_secure(settings: Settings) -> bool:
    return settings.issuer.startswith("https://")


def _name(settings: Settings, name: str) -> str:
    return f"__Host-{name}" if _is_secure(settings) else name
