"""Logs a person in for kubectl: by their browser (RFC 8252), or by a code to type elsewhere (RFC 8628)."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import click

from tailseal.cli.credential.cache import Cache, Entry
from tailseal.cli.errors import FAILED, UNREACHABLE, Failure
from tailseal.cli.output import printable

KEPT: Final = 90 * 86_400
"""Seconds for which a refresh token is kept, if the provider does not end the login before."""

SCOPES: Final = "openid groups offline_access"

_OK: Final = 200

_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_PATIENCE: Final = 180.0
_LONGEST_WAIT: Final = 900
_SLOWER: Final = 5
_ISSUER: Final = "--issuer"


class Person(NamedTuple):
    """Whose login it is, as the provider is asked for it.

    Args:
        issuer: of the IdentityProvider.
        client_id: of its public client, which is the audience of ID tokens.
        scopes: asked for, separated by blanks; empty: `SCOPES`.
        authority: PEM certificates to check its https with; empty: the system's.
    """

    issuer: str
    client_id: str
    scopes: str = ""
    authority: str = ""


def token(person: Person, cache: Cache, margin: float, *, device: bool) -> Entry:
    """An ID token that lasts longer than the margin: kept, refreshed, or of a new login.

    Args:
        person: whose.
        cache: where it is kept with what refreshes it.
        margin: seconds.
        device: log in by a code instead of by a browser on this machine.
    """
    key = cache.key("person", person)
    with cache.turn(key):  # a refresh token counts once: two that use it at the same time would end the login
        found, now = cache.get(key), time.time()
        if found is not None and found.expires_at - margin > now:
            return found
        entry = _refreshed(person, found.refresh) if found is not None and found.refresh else None
        if entry is None:
            entry = _by_code(person) if device else _by_browser(person)
        if problem := cache.put(key, entry, now):
            click.echo(f"warning: the login is not kept: {problem}", err=True)
        return entry


def log_out(person: Person, cache: Cache) -> None:
    """End the login at the provider (RFC 7009), and forget it."""
    key = cache.key("person", person)
    with cache.turn(key):
        found = cache.get(key)
        if found is None or not found.refresh:
            raise Failure("nobody is logged in there", exit_code=FAILED)
        status, answer = _ask(
            _metadata(person)["revocation_endpoint"], person, {"client_id": person.client_id, "token": found.refresh}
        )
        if status != _OK:
            raise _refused(status, answer)
        cache.drop(key)


def _refreshed(person: Person, refresh: str) -> Entry | None:
    """None: the login has ended."""
    fields = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": person.client_id}
    status, answer = _ask(_metadata(person)["token_endpoint"], person, fields)
    if answer.get("error") == "invalid_grant":
        click.echo("The login has ended: please log in again.", err=True)
        return None
    return _entry(person, status, answer)


def _by_browser(person: Person) -> Entry:
    from tailseal.cli.credential.callback import Callback  # noqa: PLC0415 - seldom needed

    metadata = _metadata(person)
    verifier, state, nonce = (secrets.token_urlsafe(48) for _ in range(3))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with Callback(state, person.issuer) as callback:
        asked = {"response_type": "code", "client_id": person.client_id, "redirect_uri": callback.uri}
        asked |= {"scope": person.scopes or SCOPES, "state": state, "nonce": nonce}
        asked |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        url = f"{metadata['authorization_endpoint']}?{urlencode(asked)}"
        click.echo(f"Log in in your browser: {url}", err=True)
        _open(url)
        code = callback.code(_PATIENCE)
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": callback.uri}
    fields |= {"client_id": person.client_id, "code_verifier": verifier}
    return _entry(person, *_ask(metadata["token_endpoint"], person, fields), nonce=nonce)


def _open(url: str) -> None:
    """In a process of its own: kubectl reads our output, and a browser may say anything there."""
    nothing = subprocess.DEVNULL
    command = [sys.executable, "-m", "webbrowser", url]
    subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)  # noqa: S603


def _by_code(person: Person) -> Entry:
    metadata = _metadata(person)
    where = metadata.get("device_authorization_endpoint", "")
    status, begun = _ask(where, person, {"client_id": person.client_id, "scope": person.scopes or SCOPES})
    if status != _OK:
        raise _refused(status, begun)
    place, code = (printable(str(begun.get(name, "")))[:200] for name in ("verification_uri_complete", "user_code"))
    click.echo(f"Open {place} and compare the code: {code}", err=True)
    fields = {"grant_type": _DEVICE, "device_code": str(begun.get("device_code")), "client_id": person.client_id}
    return _polled(person, metadata["token_endpoint"], fields, begun)


def _polled(person: Person, endpoint: str, fields: Mapping[str, str], begun: Mapping[str, Any]) -> Entry:
    pause = _number(begun.get("interval"), 5)
    deadline = time.monotonic() + _number(begun.get("expires_in"), _LONGEST_WAIT)
    while time.monotonic() < deadline:
        time.sleep(pause)
        status, answer = _ask(endpoint, person, fields)
        if answer.get("error") not in {"authorization_pending", "slow_down"}:
            return _entry(person, status, answer)
        pause += _SLOWER if answer["error"] == "slow_down" else 0
    raise Failure("nobody has approved the code in time", exit_code=FAILED)


def _number(value: object, default: int) -> int:
    return min(value, _LONGEST_WAIT) if type(value) is int and value > 0 else default


def _metadata(person: Person) -> dict[str, Any]:
    """What the provider says of itself (OpenID Connect Discovery section 4)."""
    status, found = _ask(f"{person.issuer.rstrip('/')}/.well-known/openid-configuration", person, None)
    page = str(found.get("authorization_endpoint", ""))  # goes to a browser, which may open anything
    if status != _OK or found.get("issuer") != person.issuer or not page.startswith("https://"):
        text = f"there is no provider at {printable(person.issuer)[:200]} with which people can log in"
        raise Failure(text, hint="--issuer must be equal to its `issuer`, character by character", exit_code=FAILED)
    return found


def _ask(url: str, person: Person, fields: Mapping[str, str] | None) -> tuple[int, dict[str, Any]]:
    from tailseal.cli.credential.exchange import ask  # noqa: PLC0415 - not needed where the cache knows

    return ask(str(url), fields, person.authority, _ISSUER)


def _refused(status: int, answer: Mapping[str, Any]) -> Failure:
    from tailseal.cli.credential.exchange import refused  # noqa: PLC0415 - as above

    return refused(status, answer)


def _entry(person: Person, status: int, answer: Mapping[str, Any], *, nonce: str = "") -> Entry:
    """The ID token of an answer, which came from the issuer itself by https (Core section 3.1.3.7)."""
    if status != _OK:
        raise _refused(status, answer)
    found, refresh = answer.get("id_token"), answer.get("refresh_token", "")
    claims = _claims(found)
    right = claims.get("iss") == person.issuer and claims.get("aud") in (person.client_id, [person.client_id])
    expires = claims.get("exp")
    if not right or type(expires) is not int or (nonce and claims.get("nonce") != nonce) or not isinstance(found, str):
        text = "the provider answered with no ID token for this login"
        raise Failure(text, hint="scope openid is needed", exit_code=UNREACHABLE)
    kept = str(refresh) if refresh else ""
    return Entry(found, expires, kept, time.time() + KEPT if kept else 0.0)


def _claims(found: object) -> dict[str, Any]:
    try:
        payload = str(found).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, IndexError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
