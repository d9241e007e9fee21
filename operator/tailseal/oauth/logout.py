"""Logging out: what an application may ask for, and what the others are told.

Sources: OpenID Connect RP-Initiated Logout 1.0 and Back-Channel Logout 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from tailseal.domain.bundle.model import Settings
from tailseal.domain.clients import redirects
from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth.errors import OAuthError
from tailseal.tokens import compact, verify
from tailseal.tokens.errors import TokenError
from tailseal.tokens.keyset import KeySet

TYPE: Final = "logout+jwt"
EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
SECONDS: Final = 120
"""How long a logout token counts (Back-Channel Logout section 2.4 recommends two minutes at most)."""

_PLAIN: Final = frozenset({None, "jwt", "application/jwt"})


@dataclass(frozen=True, slots=True)
class Hint:
    """Whom an ID token of ours was about.

    Args:
        client_id: whom it was for.
        subject: its `sub`, as that client knows it.
        sid: its session; empty: it names none.
    """

    client_id: str
    subject: str
    sid: str


@dataclass(frozen=True, slots=True)
class Return:
    """Where a browser is sent to afterwards.

    Args:
        uri: registered by the client.
        state: as it was given; empty: none.
    """

    uri: str
    state: str = ""

    @property
    def location(self) -> str:
        """The URI with `state` added to its query, whatever that was."""
        if not self.state:
            return self.uri
        return f"{self.uri}{'&' if '?' in self.uri else '?'}state={quote(self.state, safe='')}"


def hint(token: str, keys: KeySet, settings: Settings) -> Hint:
    """Read an `id_token_hint`; one that has expired is as good (RP-Initiated Logout section 2).

    Args:
        token: the hint.
        keys: that we publish.
        settings: of the provider.

    Raises:
        OAuthError: `invalid_request`: it is no ID token of ours.
    """
    try:
        found = compact.split(token)
        typ = found.header.get("typ")
        verify.check_signature(found, keys)
        claims = found.payload
        fits = (typ and typ.lower()) in _PLAIN and verify.issuer(claims) == settings.issuer
        audiences = verify.audiences(claims)
    except TokenError:
        raise _no_hint() from None
    client_id = claims.get("azp", audiences[0])
    # A JWT that a policy gave has `client_id`, an access token its own type: neither is about a login.
    if not fits or "client_id" in claims or client_id not in audiences or type(claims.get("sub")) is not str:
        raise _no_hint()
    sid = claims.get("sid", "")
    return Hint(client_id, claims["sub"], sid if isinstance(sid, str) else "")


def client_id_of(found: Hint | None, claimed: str) -> str:
    """Whose wish it is; empty: nobody's that can be told.

    Raises:
        OAuthError: `invalid_request`: hint and `client_id` disagree (RP-Initiated Logout section 2).
    """
    if found is not None and claimed and claimed != found.client_id:
        raise OAuthError("invalid_request", "parameter `client_id` is another than that of `id_token_hint`")
    return found.client_id if found is not None else claimed


def back(client: CompiledClient | None, uri: str, state: str) -> Return | None:
    """Where to send the browser; None: nowhere.

    Args:
        client: whose wish it is.
        uri: `post_logout_redirect_uri`, or empty.
        state: as given.

    Raises:
        OAuthError: `invalid_request`: nobody has registered that URI for the client, so nobody is sent there.
    """
    if not uri:
        return None
    if client is None or not redirects.is_registered(uri, client.post_logout_redirect_uris):
        text = "parameter `post_logout_redirect_uri` is none that the application has registered"
        raise OAuthError("invalid_request", text)
    return Return(uri, state)


def token_claims(
    settings: Settings, client: CompiledClient, *, subject: str, sid: str, token_id: str, now: float
) -> Mapping[str, Any]:
    """A logout token's claims (Back-Channel Logout section 2.4): never a nonce, so it is no ID token.

    Args:
        settings: of the provider.
        client: who is told.
        subject: as that client knows it.
        sid: of the session that ended; empty: there was none.
        token_id: `jti`.
        now: Unix seconds.
    """
    return {
        "iss": settings.issuer,
        "aud": client.client_id,
        "sub": subject,
        **({"sid": sid} if sid else {}),
        "iat": int(now),
        "exp": int(now) + SECONDS,
        "jti": token_id,
        "events": {EVENT: {}},
    }


def _no_hint() -> OAuthError:
    return OAuthError("invalid_request", "parameter `id_token_hint` is no ID token of ours")
