"""Who a client is: reads how it proves itself (RFC 6749 section 2.3, RFC 7523 section 2.2) and judges the proof.

A client that is not there and one that proves nothing get the same answer after the same work.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tailseal.domain import canonical
from tailseal.domain.bundle.model import ClientSecret, Settings
from tailseal.domain.clients import secrets
from tailseal.domain.clients.compile import CompiledClient
from tailseal.domain.policy.source import KeySource
from tailseal.oauth.errors import OAuthError
from tailseal.tokens import compact, verify
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import TokenError
from tailseal.tokens.form import FormError, unquote
from tailseal.tokens.keyset import KeySet
from tailseal.tokens.once import OnceKey, once_key

Method = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]

METHODS: Final[tuple[Method, ...]] = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
"""Every way that there is, as metadata names them."""

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

LONGEST: Final = 3600
"""Seconds that an assertion may still live: libraries make them for a minute to an hour."""

_TYPES: Final = frozenset({None, "jwt", "client-authentication+jwt"})
_MAX_TEXT: Final = 256
_NOBODYS: Final = (ClientSecret(digest=canonical.digest(b"")),)


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request brought, not yet judged.

    Args:
        method: how it proves who it is.
        client_id: who it says it is.
        secret: with the methods that have one.
        assertion: with private_key_jwt.
    """

    method: Method
    client_id: str
    secret: str = field(default="", repr=False)
    assertion: Compact | None = field(default=None, repr=False)

    @property
    def basic(self) -> bool:
        """Whether a refusal has to name the scheme (RFC 6749 section 5.2)."""
        return self.method == "client_secret_basic"


def presented(authorization: str | None, form: Mapping[str, Sequence[str]]) -> Presented:
    """Read how a client proves who it is; it may do so in one way only (RFC 6749 section 2.3).

    Args:
        authorization: the header, or None if there is none.
        form: the parameters.

    Raises:
        OAuthError: `invalid_request` if it cannot be read in one way, `invalid_client` if there is nothing.
    """
    asserted = "client_assertion" in form or "client_assertion_type" in form
    if (authorization is not None) + ("client_secret" in form) + asserted > 1:
        raise OAuthError("invalid_request", "the client proves itself in two ways: one is right")
    claimed = _first(form, "client_id")
    found = _basic(authorization) if authorization is not None else _asserted(form) if asserted else _plain(form)
    if claimed and claimed != found.client_id:
        raise OAuthError("invalid_request", "parameter `client_id` is another than that of the client's proof")
    return found


def refused(shown: Presented) -> OAuthError:
    """The answer to every proof that does not hold, whatever is wrong with it."""
    return OAuthError(
        "invalid_client",
        "there is no such client, or it has to prove itself in another way, or with another secret or key",
        status=401,
        basic=shown.basic,
    )


def authenticate(
    shown: Presented,
    client: CompiledClient | None,
    *,
    settings: Settings,
    endpoint: str,
    keys: KeySet | None,
    now: float,
) -> tuple[OnceKey, ...]:
    """Judge the proof.

    Args:
        shown: what the request brought.
        client: of that id, if there is one.
        settings: of the provider.
        endpoint: URL that was called.
        keys: of the client, where it has any.
        now: Unix seconds.

    Returns:
        Marks that must be there to take, or the proof was used before.

    Raises:
        OAuthError: `invalid_client`.
    """
    known = client.secrets if client is not None and client.secrets else _NOBODYS
    right = secrets.is_right(shown.client_id, shown.secret, known, now)
    if client is None or shown.method not in client.auth_methods:
        raise refused(shown)
    if shown.assertion is not None:
        expired = client.jwks_expire_at is not None and now >= client.jwks_expire_at
        return _judged(shown, shown.assertion, settings, endpoint, None if expired else keys, now)
    if shown.method != "none" and not right:
        raise refused(shown)
    return ()


def key_source(client: CompiledClient) -> KeySource | None:
    """Where the client's keys come from; None: it has none."""
    if client.jwks_uri:
        return KeySource(client.client_id, "jwksURI", client.jwks_uri)
    if client.jwks:
        return KeySource(
            client.client_id,
            "jwks",
            canonical.digest(client.jwks),
            jwks=client.jwks.decode(),
            expires_at=client.jwks_expire_at,
        )
    return None


def _plain(form: Mapping[str, Sequence[str]]) -> Presented:
    client_id = _first(form, "client_id")
    if not client_id:
        text = "the client does not say who it is: by HTTP Basic, or by `client_id` and what proves it"
        raise OAuthError("invalid_client", text, status=401)
    if "client_secret" in form:
        return Presented("client_secret_post", client_id, _first(form, "client_secret"))
    return Presented("none", client_id)


def _basic(authorization: str) -> Presented:
    """Id and secret, each encoded like a form's value, inside HTTP Basic (RFC 6749 section 2.3.1, RFC 7617)."""
    scheme, _, value = authorization.partition(" ")
    try:
        content = base64.b64decode(value.strip(" "), validate=True).decode("ascii")
        client_id, colon, secret = (unquote(part) for part in content.partition(":"))
    except (ValueError, FormError):
        raise _no_basic() from None
    if scheme.lower() != "basic" or not colon or not client_id:
        raise _no_basic()
    return Presented("client_secret_basic", client_id, secret)


def _no_basic() -> OAuthError:
    text = "header Authorization is not HTTP Basic with the client's id and secret, each form-urlencoded"
    return OAuthError("invalid_client", text, status=401, basic=True)


def _asserted(form: Mapping[str, Sequence[str]]) -> Presented:
    if _first(form, "client_assertion_type") != ASSERTION_TYPE:
        raise OAuthError("invalid_request", f"parameter `client_assertion_type` must be {ASSERTION_TYPE}")
    try:
        assertion = compact.split(_first(form, "client_assertion"))
    except TokenError:
        raise OAuthError("invalid_client", "the client's assertion is no JWT that we take", status=401) from None
    subject = assertion.payload.get("sub")
    if type(subject) is not str or not subject:
        raise OAuthError("invalid_client", "the client's assertion has no `sub`", status=401)
    return Presented("private_key_jwt", subject, assertion=assertion)


def _judged(
    shown: Presented, assertion: Compact, settings: Settings, endpoint: str, keys: KeySet | None, now: float
) -> tuple[OnceKey, ...]:
    """RFC 7523 section 3; RFC 9126 section 2 names the audiences."""
    claims, typ = assertion.payload, assertion.header.get("typ")
    ours = {settings.issuer, settings.token_endpoint, endpoint}
    try:
        if keys is None or (typ and typ.lower()) not in _TYPES:
            raise refused(shown)
        verify.check_signature(assertion, keys)
        if verify.issuer(claims) != shown.client_id or not ours.issuperset(verify.audiences(claims)):
            raise refused(shown)
        until = _until(claims, now, settings.clock_skew)
    except TokenError:
        raise refused(shown) from None
    jti = claims.get("jti")
    if until is None or type(jti) is not str or not 0 < len(jti) <= _MAX_TEXT:
        raise refused(shown)
    return (once_key(settings, "client_assertion", shown.client_id, jti, until=until),)


def _until(claims: Mapping[str, Any], now: float, skew: float) -> float | None:
    """Unix seconds until which the assertion counts; None: it does not, or for too long."""
    verify.check_claims({"iat": 0, **claims}, now=now, skew=skew)  # RFC 7523 leaves `iat` to the client
    until = float(claims["exp"]) + skew
    return until if until <= now + LONGEST + 2 * skew else None


def _first(form: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(form.get(name, ())), "")
