"""What clients say of themselves when they introduce themselves (RFC 7591 section 2), by a request or a document."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tailseal.api.oauthclient import DEFAULT_SCOPES, REDIRECT_URI
from tailseal.domain import canonical
from tailseal.domain.bundle.model import ClientSecret
from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import parameters
from tailseal.oauth.clientauth import METHODS
from tailseal.oauth.errors import OAuthError
from tailseal.tokens import compact
from tailseal.tokens.errors import KeySetError, TokenError
from tailseal.tokens.keyset import parse_jwks

MAX_BYTES: Final = 16_384
"""Of what a client says of itself; of documents at a URL the draft recommends five kilobytes."""

GRANT_TYPES: Final = ("authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code")
"""What they may ask for: always with a person, whose rights they then have."""

SCOPES: Final = frozenset({*DEFAULT_SCOPES, "offline_access"})

_CODE, _REFRESH, _DEVICE = GRANT_TYPES
_URI: Final = re.compile(REDIRECT_URI)
_WEB: Final = re.compile(r"https://[!-~]{1,500}")
_MAX_LIST: Final = 16
_MAX_URI: Final = 512
_MAX_NAME: Final = 100
_MAX_SCOPE: Final = 512
_TEXTS: Final = ("client_uri", "logo_uri", "tos_uri", "policy_uri")
_KEPT: Final = frozenset({"client_name", "contacts", "software_id", "software_version", "application_type", *_TEXTS})


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a client says of itself, with the defaults decided (RFC 7591 section 2).

    Args:
        redirect_uris: where people are sent back to.
        auth_method: how it proves who it is.
        grant_types: how it asks for tokens.
        scopes: that it may ask for.
        jwks: its public keys as canonical JSON; empty: none.
        jwks_uri: where they are fetched from, else.
        post_logout_redirect_uris: where people may be sent after logging out.
        backchannel_logout_uri: where it is told of that.
        rest: members that are only shown and told again.
    """

    redirect_uris: tuple[str, ...]
    auth_method: str
    grant_types: tuple[str, ...]
    scopes: tuple[str, ...]
    jwks: str = ""
    jwks_uri: str = ""
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str = ""
    rest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people may be shown; empty: it says none."""
        found = self.rest.get("client_name", "")
        return found if isinstance(found, str) else ""

    @property
    def has_secret(self) -> bool:
        """Whether it proves itself by a secret."""
        return self.auth_method in {"client_secret_basic", "client_secret_post"}


def document(content: bytes) -> dict[str, Any]:
    """A JSON object with no member twice.

    Raises:
        OAuthError: `invalid_client_metadata`.
    """
    if len(content) > MAX_BYTES:
        text = f"the document is longer than {MAX_BYTES} bytes"
        raise OAuthError("invalid_client_metadata", text, status=413)
    try:
        return compact.json_object(content)
    except TokenError:
        raise OAuthError("invalid_client_metadata", "the body is no JSON object that can be read in one way") from None


def read(document: Mapping[str, Any]) -> Metadata:
    """What a client says of itself; members that we do not know are ignored (RFC 7591 section 2).

    Raises:
        OAuthError: `invalid_redirect_uri` or `invalid_client_metadata`.
    """
    if "software_statement" in document:
        raise OAuthError("invalid_software_statement", "software statements are not taken here: leave it out")
    grant_types = _grant_types(document)
    uris = _uris(document, "redirect_uris", "invalid_redirect_uri")
    if (_CODE in grant_types) != bool(uris):
        text = "`redirect_uris` go with the grant type authorization_code, and are needed there"
        raise OAuthError("invalid_redirect_uri", text)
    method = _text(document, "token_endpoint_auth_method") or "client_secret_basic"
    if method not in METHODS:
        raise wrong("token_endpoint_auth_method", f"must be one of {', '.join(METHODS)}")
    jwks, jwks_uri = _keys(document, method)
    _only(document, "id_token_signed_response_alg", lambda alg: alg in {"RS256", "ES256", "PS256", "ES384", "EdDSA"})
    _only(document, "subject_type", lambda kind: kind == "public")
    return Metadata(
        redirect_uris=uris,
        auth_method=method,
        grant_types=grant_types,
        scopes=_scopes(document),
        jwks=jwks,
        jwks_uri=jwks_uri,
        post_logout_redirect_uris=_uris(document, "post_logout_redirect_uris", "invalid_client_metadata"),
        backchannel_logout_uri=_web(document, "backchannel_logout_uri"),
        rest=_rest(document),
    )


def compiled(metadata: Metadata, client_id: str, uid: str, *, secret: str = "", introduced: str) -> CompiledClient:
    """The client as endpoints know it; it must always use PKCE, and app capabilities say who may log in.

    Args:
        metadata: as accepted.
        client_id: its id.
        uid: what nothing else has, nor a later client of the same id.
        secret: hash of its secret; empty: it has none.
        introduced: how it came to be known: `registered` or `metadata`.
    """
    return CompiledClient(
        namespace="",
        name=metadata.name or client_id,
        uid=uid,
        client_id=client_id,
        public=metadata.auth_method == "none",
        auth_methods=(metadata.auth_method,),
        secrets=(ClientSecret(digest=secret),) if secret else (),
        jwks=metadata.jwks.encode(),
        jwks_uri=metadata.jwks_uri,
        redirect_uris=metadata.redirect_uris,
        pkce_required=True,
        grant_types=frozenset(metadata.grant_types),
        scopes=frozenset(metadata.scopes),
        audiences=frozenset(),
        opaque=False,
        id_token_algorithm=str(metadata.rest.get("id_token_signed_response_alg", "")),
        sector="",
        allow=None,
        claims=frozenset(),
        post_logout_redirect_uris=metadata.post_logout_redirect_uris,
        backchannel_logout_uri=metadata.backchannel_logout_uri,
        introduced=introduced,
    )


def told(metadata: Metadata) -> dict[str, Any]:
    """The metadata under their own names."""
    said: dict[str, Any] = {
        **metadata.rest,
        "redirect_uris": metadata.redirect_uris,
        "token_endpoint_auth_method": metadata.auth_method,
        "grant_types": metadata.grant_types,
        "response_types": ["code"] if _CODE in metadata.grant_types else [],
        "scope": " ".join(metadata.scopes),
        "jwks": orjson.loads(metadata.jwks) if metadata.jwks else None,
        "jwks_uri": metadata.jwks_uri,
        "post_logout_redirect_uris": metadata.post_logout_redirect_uris,
        "backchannel_logout_uri": metadata.backchannel_logout_uri,
    }
    return {name: value for name, value in said.items() if value or name == "response_types"}


def _grant_types(document: Mapping[str, Any]) -> tuple[str, ...]:
    grant_types = _list(document, "grant_types", "invalid_client_metadata") or (_CODE,)
    if not set(grant_types) <= set(GRANT_TYPES):
        raise wrong("grant_types", f"must be of {', '.join(GRANT_TYPES)}")
    if not {_CODE, _DEVICE} & set(grant_types):
        raise wrong("grant_types", "must have authorization_code or the device code grant")
    expected = {"code"} if _CODE in grant_types else set[str]()
    response_types = _list(document, "response_types", "invalid_client_metadata")
    if "response_types" in document and set(response_types) != expected:
        raise wrong("response_types", "must be code with the grant type authorization_code, else nothing")
    return grant_types


def _keys(document: Mapping[str, Any], method: str) -> tuple[str, str]:
    jwks, jwks_uri = document.get("jwks"), _web(document, "jwks_uri")
    if jwks is not None and jwks_uri:
        raise wrong("jwks", "goes without jwks_uri")
    if (method == "private_key_jwt") > bool(jwks or jwks_uri):
        raise wrong("jwks", "or jwks_uri is needed with private_key_jwt")
    if jwks is None:
        return "", jwks_uri
    try:
        parse_jwks(jwks if isinstance(jwks, dict) else {})
        return canonical.dumps(jwks).decode(), ""
    except (KeySetError, TokenError, ValueError):
        raise wrong("jwks", "must be a set of public keys") from None


def _scopes(document: Mapping[str, Any]) -> tuple[str, ...]:
    text = _text(document, "scope", _MAX_SCOPE)
    if not text:
        return tuple(sorted(SCOPES))
    if not parameters.SCOPES.fullmatch(text):
        raise wrong("scope", "must be scopes divided by single blanks")
    found = tuple(dict.fromkeys(scope for scope in text.split(" ") if scope in SCOPES))
    if not found:
        raise wrong("scope", f"must have some of {' '.join(sorted(SCOPES))}")
    return found


def _rest(document: Mapping[str, Any]) -> dict[str, Any]:
    for name in _TEXTS:
        _web(document, name)
    for name in ("client_name", "software_id", "software_version", "application_type"):
        _text(document, name, _MAX_NAME)
    _list(document, "contacts", "invalid_client_metadata")
    kept = _KEPT | {"id_token_signed_response_alg", "subject_type"}
    return {name: document[name] for name in sorted(kept & document.keys())}


def _only(document: Mapping[str, Any], name: str, accept: Callable[[Any], bool]) -> None:
    if name in document and not accept(document[name]):
        raise wrong(name, "is none that we have")


def _uris(document: Mapping[str, Any], name: str, error: str) -> tuple[str, ...]:
    found = _list(document, name, error)
    if all(len(uri) <= _MAX_URI and _URI.fullmatch(uri) for uri in found):
        return found
    text = "must be https, http on this very machine, or a private scheme in reverse domain order, without fragment"
    raise OAuthError(error, f"`{name}` {text}")


def _list(document: Mapping[str, Any], name: str, error: str) -> tuple[str, ...]:
    found = document.get(name, [])
    if not isinstance(found, list) or len(found) > _MAX_LIST or not all(type(entry) is str for entry in found):
        raise OAuthError(error, f"`{name}` must be a list of at most {_MAX_LIST} texts")
    if any(len(entry) > _MAX_URI for entry in found):
        raise OAuthError(error, f"`{name}` has too long an entry")
    return tuple(dict.fromkeys(found))


def _web(document: Mapping[str, Any], name: str) -> str:
    found = _text(document, name, _MAX_URI)
    if found and (not _WEB.fullmatch(found) or "#" in found or "@" in found.split("/")[2]):
        raise wrong(name, "must be an https URL")
    return found


def _text(document: Mapping[str, Any], name: str, longest: int = _MAX_URI) -> str:
    found = document.get(name, "")
    if type(found) is not str or len(found) > longest or not (found.isprintable() or not found):
        raise wrong(name, f"must be a text of at most {longest} characters")
    return found


def wrong(name: str, how: str) -> OAuthError:
    """The answer to a member that cannot be."""
    return OAuthError("invalid_client_metadata", f"`{name}` {how}")
