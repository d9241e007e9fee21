"""The authorization request (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2.1), read in two steps.

First where its answer may go: until that is certain, nothing goes anywhere. Then everything else, whose faults are told
to the client there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from tailseal.domain.bundle.model import Settings
from tailseal.domain.clients import redirects
from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import parameters, wishes
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.parameters import Form, one
from tailseal.oauth.wishes import Wishes

Mode = Literal["query", "fragment", "form_post"]

MODES: Final[tuple[Mode, ...]] = ("query", "fragment", "form_post")
PROMPTS: Final = ("none", "login", "consent", "select_account")

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the answer to an authorization request goes.

    Args:
        client: that asks.
        redirect_uri: registered by it.
        mode: how the answer travels.
        state: given back as it came; empty: there is none.
    """

    client: CompiledClient
    redirect_uri: str
    mode: Mode
    state: str = field(repr=False)


class RedirectedError(OAuthError):
    """A refusal that the client is told by the browser.

    Args:
        target: where to.
        error: the refusal.
    """

    def __init__(self, target: Target, error: OAuthError) -> None:
        super().__init__(error.error, error.description, status=error.status, reason=error.reason)
        self.target = target


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """An authorization request whose shape is right.

    Args:
        target: where its answer goes.
        scopes: asked for, known or not.
        resources: asked for.
        nonce: for the ID token; empty: none.
        code_challenge: of PKCE; empty: none.
        prompt: any of `PROMPTS`.
        max_age: seconds since the person confirmed who they are; None: any.
        login_hint: who the client thinks it is; empty: it does not say.
        wishes: parameter `claims`.
        jkt: key that the code is bound to; empty: none.
    """

    target: Target
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    nonce: str
    code_challenge: str
    prompt: frozenset[str]
    max_age: int | None
    login_hint: str
    wishes: Wishes
    jkt: str

    @property
    def client(self) -> CompiledClient:
        """That asks."""
        return self.target.client

    @property
    def silent(self) -> bool:
        """Whether no page may be shown."""
        return "none" in self.prompt


def target(form: Form, client: CompiledClient | None) -> Target:
    """Where the answer goes.

    Args:
        form: the parameters.
        client: that `client_id` names, if there is one.

    Raises:
        OAuthError: nobody knows where to, so the person at the browser is told.
    """
    if client is None:
        text = "no such client is known here: it may have been removed, or its `client_id` is wrong"
        raise OAuthError("invalid_request", text, reason="UnknownClient")
    uri = one(form, "redirect_uri")
    if not uri:
        raise OAuthError("invalid_request", "parameter `redirect_uri` is missing, or there are several")
    if not redirects.is_registered(uri, client.redirect_uris):
        text = "the client has not registered that `redirect_uri`: it must be equal, character by character"
        raise OAuthError("invalid_request", text, reason="RedirectNotRegistered")
    asked = one(form, "response_mode")
    mode: Mode = next((known for known in MODES if known == asked), "query")
    return Target(client, uri, mode, one(form, "state"))


def read(form: Form, where: Target, settings: Settings) -> AuthorizationRequest:
    """Everything else.

    Args:
        form: the parameters.
        where: the answer goes.
        settings: of the provider.

    Raises:
        RedirectedError: the client is told there.
    """
    try:
        return _read(form, where, settings)
    except OAuthError as error:
        raise RedirectedError(where, error) from None


def _read(form: Form, where: Target, settings: Settings) -> AuthorizationRequest:
    parameters.refuse_doubled(form)
    _check_kind(form, where.client)
    asked = parameters.resources(form)
    if not set(asked) <= where.client.audiences | {settings.issuer}:
        raise OAuthError("invalid_target", "the client may not have tokens for that `resource`")
    scopes, nonce = parameters.scopes(form), _short(form, "nonce")
    return AuthorizationRequest(
        target=where,
        scopes=scopes,
        resources=asked,
        nonce=nonce,
        code_challenge=_challenge(form, where.client, scopes, nonce),
        prompt=_prompt(form),
        max_age=_max_age(form),
        login_hint=_short(form, "login_hint"),
        wishes=wishes.read(_short(form, "claims", 2 * parameters.MAX_TEXT)),
        jkt=_jkt(form),
    )


def _check_kind(form: Form, client: CompiledClient) -> None:
    """What is asked in another way than by parameters of its own, or for something else than a code."""
    for name in ("request", "request_uri", "registration"):
        if name in form:
            text = f"parameter `{name}` is not supported: send plain parameters, or push them first (RFC 9126)"
            raise OAuthError(f"{name}_not_supported", text)
    if not one(form, "response_type"):
        raise OAuthError("invalid_request", "parameter `response_type` is missing: it must be code")
    if one(form, "response_type") != "code":
        raise OAuthError("unsupported_response_type", "parameter `response_type` must be code")
    if form.get("response_mode", ["query"])[0] not in MODES:
        raise OAuthError("invalid_request", "parameter `response_mode` must be query, fragment or form_post")
    if "authorization_code" not in client.grant_types:
        raise OAuthError("unauthorized_client", "the client is not registered for the authorization code grant")


def _challenge(form: Form, client: CompiledClient, scopes: tuple[str, ...], nonce: str) -> str:
    """RFC 7636 section 4.3, RFC 9700 section 2.1.1."""
    challenge, method = one(form, "code_challenge"), one(form, "code_challenge_method")
    if challenge or method:
        if method != "S256":
            raise OAuthError("invalid_request", "parameter `code_challenge_method` must be S256")
        if not _CHALLENGE.fullmatch(challenge):
            raise OAuthError("invalid_request", "parameter `code_challenge` must be a SHA-256 as unpadded base64url")
        return challenge
    if client.pkce_required:
        raise OAuthError("invalid_request", "PKCE is needed: parameters `code_challenge` and `code_challenge_method`")
    if not nonce or "openid" not in scopes:
        raise OAuthError("invalid_request", "without PKCE, scope openid and parameter `nonce` are needed")
    return ""


def _prompt(form: Form) -> frozenset[str]:
    prompt = frozenset(one(form, "prompt").split())
    if not prompt <= set(PROMPTS):
        raise OAuthError("invalid_request", f"parameter `prompt` must be of {', '.join(PROMPTS)}")
    if "none" in prompt and len(prompt) > 1:
        raise OAuthError("invalid_request", "parameter `prompt`: none goes with nothing else")
    return prompt


def _max_age(form: Form) -> int | None:
    text = one(form, "max_age")
    if not text:
        return None
    if not _SECONDS.fullmatch(text):
        raise OAuthError("invalid_request", "parameter `max_age` must be a number of seconds")
    return int(text)


def _jkt(form: Form) -> str:
    text = one(form, "dpop_jkt")
    if text and not _CHALLENGE.fullmatch(text):
        raise OAuthError("invalid_request", "parameter `dpop_jkt` must be the SHA-256 thumbprint of a key")
    return text


def _short(form: Form, name: str, longest: int = parameters.MAX_TEXT) -> str:
    text = one(form, name)
    if len(text) > longest:
        raise OAuthError("invalid_request", f"parameter `{name}` is longer than {longest} characters")
    return text
