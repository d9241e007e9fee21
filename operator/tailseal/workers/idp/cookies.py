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
from tailseal.oauth.parameters import one
from tailseal.tokens import compact
from tailseal.tokens.answers import Header
from tailseal.tokens.errors import TokenError
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Request

SESSION: Final = "tailseal-session"
VISIT: Final = "tailseal-visit"
"""What a form is bound to: it says nothing of who somebody is."""

FORM_SECONDS: Final = 3600
"""How long somebody may look at a form."""

_LONGEST: Final = 128
_STAMP_BYTES: Final = 5


def read(request: Request, name: str) -> str:
    """A cookie's value, or an empty text; of several of one name, none counts.

    Pairs are divided as browsers write them, and by nothing else: a comma or an odd blank is part of what neighbours
    may set, and what they set must never read as a name that only we can set.
    """
    wanted = _name(request.snapshot.settings, name).encode()
    lines = (value for key, value in request.scope["headers"] if key == b"cookie")
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


def form(runtime: IdpRuntime, request: Request, *about: str) -> tuple[str, tuple[Header, ...]]:
    """Proof that we made a form for this browser, and the header that puts there what it is bound to if it is not.

    Args:
        runtime: for randomness.
        request: that the form answers.
        about: what else it holds for: whoever calls, and what the form is about.
    """
    seal, headers = read(request, VISIT), tuple[Header, ...]()
    if not seal:
        seal = credentials.handle(runtime.random(credentials.RANDOM_BYTES))
        headers = (written(request.snapshot.settings, VISIT, seal, FORM_SECONDS),)
    stamp = int(request.now).to_bytes(_STAMP_BYTES, "big")
    return base64url(stamp + _tag(request.snapshot, stamp, (seal, *about))), headers


def check_form(request: Request, *about: str) -> None:
    """See that we made a form, for this browser and this person, not too long ago.

    Args:
        request: with the proof as parameter `form`.
        about: what it was made for.

    Raises:
        OAuthError: we did not.
    """
    seal = read(request, VISIT)
    token = one(request.form, "form") if seal else ""
    try:
        content = compact.decode(token.encode("ascii"))
    except (TokenError, UnicodeEncodeError):
        content = b""
    stamp = content[:_STAMP_BYTES]
    fresh = 0 <= request.now - int.from_bytes(stamp, "big") <= FORM_SECONDS
    tag = _tag(request.snapshot, stamp, (seal, *about))
    if not hmac.compare_digest(content[_STAMP_BYTES:], tag) or not fresh:
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
