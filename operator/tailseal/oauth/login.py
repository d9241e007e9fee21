"""What comes next on the way from an authorization request to a code: a page, or the code, or a refusal by redirect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tailseal.oauth.admission import Person
from tailseal.oauth.authorize import AuthorizationRequest
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.idtoken import ACR
from tailseal.oauth.records import Browser

SESSION_SECONDS: Final = 86_400
"""How long a browser's session lasts after the person confirmed who they are."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known when a request comes.

    Args:
        browser: its session, if it is the caller's; None: there is none.
        agreed: scopes that they agreed to before.
        now: Unix seconds.
    """

    browser: Browser | None
    agreed: frozenset[str]
    now: float


@dataclass(frozen=True, slots=True)
class Asks:
    """What a person has to be asked; nothing: they are sent back at once.

    Args:
        confirm: who they are.
        consent: whether the client may have what it asks for.
    """

    confirm: bool
    consent: bool

    def __bool__(self) -> bool:
        return self.confirm or self.consent


def asks(request: AuthorizationRequest, who: Person, scopes: tuple[str, ...], seen: Seen) -> Asks:
    """What has to be asked first.

    Args:
        request: of the client.
        who: is at the browser.
        scopes: that they would grant.
        seen: what is known.
    """
    browser = seen.browser
    confirm = (
        browser is None
        or not {"login", "select_account"}.isdisjoint(request.prompt)
        or (request.max_age is not None and not 0 <= seen.now - browser.auth_time < request.max_age)
        or (bool(request.login_hint) and request.login_hint not in _names(who))
    )
    own = bool(request.client.namespace)  # registered by an administrator, not by itself
    consent = "consent" in request.prompt or not (own or seen.agreed >= set(scopes))
    return Asks(confirm, consent)


def check_silent(request: AuthorizationRequest, found: Asks) -> None:
    """Refuse where a page would be needed and none may be shown (OpenID Connect Core section 3.1.2.6).

    Raises:
        OAuthError: `login_required` or `consent_required`.
    """
    if request.silent and found.confirm:
        raise OAuthError("login_required", "the person has to confirm who they are")
    if request.silent and found.consent:
        raise OAuthError("consent_required", "the person has to agree")


def check_wishes(request: AuthorizationRequest, subject: str) -> None:
    """Refuse where the client insists on what cannot be (OpenID Connect Core sections 5.5.1 and 5.5.1.1).

    Args:
        request: of the client.
        subject: `sub` as it would see it.

    Raises:
        OAuthError: `login_required` or `unmet_authentication_requirements`.
    """
    wished = request.wishes.id_token
    if "sub" in wished and wished["sub"].values and subject not in wished["sub"].values:
        raise OAuthError("login_required", "another person is logged in than the client asks for")
    acr = wished.get("acr")
    if acr is not None and acr.essential and acr.values and ACR not in acr.values:
        text = "no login here is of a class that the client insists on (`acr`)"
        raise OAuthError("unmet_authentication_requirements", text)


def check_hint(about: str, subject: str) -> None:
    """Refuse where another person is here than the one that the client shows an ID token of (section 3.1.2.1).

    Args:
        about: `sub` of the hint.
        subject: `sub` as the client would see it.

    Raises:
        OAuthError: `login_required`.
    """
    if about != subject:
        raise OAuthError("login_required", "another person is here than the one that `id_token_hint` is about")


def _names(who: Person) -> frozenset[str]:
    return frozenset({who.login, who.caller.subject})
