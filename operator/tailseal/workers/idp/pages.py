"""Pages for people: rendered here, without scripts but one, and closed to frames and foreign content."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from tailseal.oauth import errors
from tailseal.oauth.errors import OAuthError
from tailseal.tokens.answers import NO_STORE, Header, Response
from tailseal.workers.idp.endpoint import Request, prefers_json

if TYPE_CHECKING:
    from jinja2 import Environment

SUBMIT: Final = "document.forms[0].submit()"
"""The one script: it sends a form on by itself, where the answer to an application is one."""


def page(name: str, status: int = 200, *, headers: Sequence[Header] = (), to: str = "", **content: Any) -> Response:  # noqa: ANN401 - whatever the template shows
    """A page.

    Args:
        name: of its template.
        status: HTTP status.
        headers: beside those of all pages.
        to: where its form may lead, besides us and https: an origin or a scheme, such as that of an installed
            application.
        content: what it shows; the template escapes all of it.
    """
    body = _templates().get_template(f"{name}.html").render(style=_style(), script=SUBMIT, **content)
    fields = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", _policy(to).encode()),
        *NO_STORE,
        (b"x-frame-options", b"DENY"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        *headers,
    )
    return Response(status, body.encode(), fields)


async def ready() -> None:
    """Have at hand what pages need: nobody else waits while it is loaded."""
    if not _templates.cache_info().currsize:
        await asyncio.to_thread(_load)


def refused(request: Request | None, error: OAuthError, decision: str) -> Response:
    """A refusal for the person at the browser; for a program that asks for JSON, that.

    Args:
        request: the request, if it was read.
        error: the refusal.
        decision: id that the audit line has, too.
    """
    if request is not None and prefers_json(request.scope):
        return errors.answer(error, decision)
    retry: tuple[Header, ...] = ()
    if error.status in {429, 503}:
        retry = ((b"retry-after", b"%d" % error.retry_after),)
    return page("error", error.status, headers=retry, error=error, decision=decision, title=_title(error))


def _title(error: OAuthError) -> str:
    titles = {401: "We do not know you", 403: "You may not do that", 503: "Not now", 429: "Too often"}
    return titles.get(error.status, "Something is wrong here")


def _policy(to: str) -> str:
    """What browsers may do with a page; a form may lead to an application, and from there on to others."""
    form_action = f"'self' https: {to}".rstrip()
    return (
        f"default-src 'none'; style-src '{_hash(_style())}'; script-src '{_hash(SUBMIT)}'; img-src https: data:; "
        f"form-action {form_action}; base-uri 'none'; frame-ancestors 'none'"
    )


@cache
def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


@cache
def _style() -> str:
    return (files(__package__) / "templates" / "style.css").read_text()


@cache
def _templates() -> Environment:
    import jinja2  # noqa: PLC0415 - only who shows pages needs it

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _load() -> None:
    for name in ("login.html", "scopes.html", "error.html", "form_post.html"):
        _templates().get_template(name)


def _template(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text()


def origin_of(uri: str) -> str:
    """Where a form may lead that goes to an application, as a policy names it."""
    scheme, _, rest = uri.partition("://")
    if rest and scheme in {"http", "https"}:
        host = rest.partition("/")[0].partition("?")[0]
        return f"{scheme}://{host}"
    return uri.partition(":")[0] + ":"
