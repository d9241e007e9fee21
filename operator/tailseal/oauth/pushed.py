"""Pushed authorization requests (RFC 9126): parameters that a client left with us, for a URI that counts once."""

from __future__ import annotations

from typing import Any, Final

import orjson

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import credentials
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.parameters import Form
from tailseal.state.grants import Kind, Record

PREFIX: Final = "urn:ietf:params:oauth:request_uri:"
SECONDS: Final = 90
"""How long a request waits: the browser is sent on at once."""

MAX_TEXT: Final = 16_384
"""Characters of a request: of 10,000 that wait, a disk hardly notices."""

_PROOFS: Final = frozenset({"client_secret", "client_assertion", "client_assertion_type"})


def parameters(form: Form) -> dict[str, list[str]]:
    """The authorization request in what a client pushes: all but what proves who it is.

    Raises:
        OAuthError: `invalid_request`: it names another request (section 2.1), or is too long to be kept (section 2.3).
    """
    if "request_uri" in form:
        raise OAuthError("invalid_request", "parameter `request_uri` cannot be pushed: push what it would stand for")
    found = {name: values for name, values in form.items() if name not in _PROOFS}
    if sum(len(name) + sum(map(len, values)) for name, values in found.items()) > MAX_TEXT:
        raise OAuthError("invalid_request", f"the request is longer than {MAX_TEXT} characters", status=413)
    return found


def record(client: CompiledClient, request: Form, handle: str, now: float) -> Record:
    """What is kept of it.

    Args:
        client: whose it is.
        request: the parameters.
        handle: random.
        now: Unix seconds.
    """
    content = orjson.dumps({"client": client.uid, "request": request})
    return Record(Kind.PUSHED, credentials.digest(handle), content, now + SECONDS)


def named(request_uri: str) -> bytes:
    """The digest under which the request that a URI of ours names is kept.

    Raises:
        OAuthError: it is none of ours.
    """
    if not request_uri.startswith(PREFIX):
        raise _unknown()
    return credentials.digest(request_uri.removeprefix(PREFIX))


def redeemed(found: Record | None, client: CompiledClient) -> dict[str, list[str]]:
    """The parameters, for the client that pushed them and nobody else.

    Args:
        found: what was kept, if it is there and was not used.
        client: that `client_id` names.

    Raises:
        OAuthError: `invalid_request_uri`.
    """
    content: dict[str, Any] = orjson.loads(found.content) if found is not None else {}
    if content.get("client") != client.uid:
        raise _unknown()
    request: dict[str, list[str]] = content["request"]
    return request


def _unknown() -> OAuthError:
    text = "parameter `request_uri` names no request of this client that waits: it may have expired, or been used"
    return OAuthError("invalid_request_uri", text)
