"""What a refresh may ask for: no more than was granted, and with the key that it is bound to (RFC 6749 section 6)."""

from __future__ import annotations

from tailseal.oauth import parameters
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.parameters import Form
from tailseal.oauth.records import Login, Refreshing


def unknown() -> OAuthError:
    """The answer to a refresh token that is not there, whyever."""
    text = "the refresh token is not one of this client's, or has expired, or was used before"
    return OAuthError("invalid_grant", text, reason="RefreshUnknown")


def gone() -> OAuthError:
    """The answer where the person is not who, or not where, they were."""
    text = "the login has ended: the person has to log in again"
    return OAuthError("invalid_grant", text, reason="LoginEnded")


def check_key(kept: Refreshing, jkt: str) -> None:
    """Whether the key is proven that the refresh token is bound to (RFC 9449 section 5).

    Raises:
        OAuthError: `invalid_grant`.
    """
    if kept.jkt and kept.jkt != jkt:
        raise OAuthError("invalid_grant", "the refresh token is bound to another key", reason="ProofOfAnotherKey")


def scopes(login: Login, form: Form) -> tuple[str, ...]:
    """The scopes of the new access token.

    Raises:
        OAuthError: `invalid_scope`.
    """
    asked = parameters.scopes(form)
    if not set(asked) <= set(login.scopes):
        raise OAuthError("invalid_scope", "parameter `scope` asks for more than was granted")
    return asked or login.scopes


def resources(granted: tuple[str, ...], form: Form) -> tuple[str, ...]:
    """The services that the new access token is for (RFC 8707 section 2.2).

    Args:
        granted: at the login; empty: ourselves alone.
        form: the parameters.

    Raises:
        OAuthError: `invalid_target`.
    """
    asked = parameters.resources(form)
    if not set(asked) <= set(granted):
        raise OAuthError("invalid_target", "parameter `resource` asks for more than was granted")
    return asked or granted
