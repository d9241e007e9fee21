"""How clients prove themselves, as functions of bytes: a header and a form, and what a client's own key has signed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ed25519

from tailseal.domain.bundle.model import ClientRecord, ClientSecret, Settings
from tailseal.domain.clients import secrets
from tailseal.domain.clients.compile import compile_client
from tailseal.oauth import clientauth
from tailseal.oauth.errors import OAuthError
from tailseal.tokens import form
from tailseal.tokens.algorithms import ALGORITHMS
from tailseal.tokens.compact import encode
from tailseal.tokens.keyset import parse_jwks
from tailseal.tokens.request import GRANT_TYPE, REPEATABLE

NOW: Final = 1_800_000_000.0
OURS: Final = "https://idp.example"
ENDPOINT: Final = f"{OURS}/token"
SECRET: Final = "0123456789abcdef" * 2

_KEY: Final = ed25519.Ed25519PrivateKey.from_private_bytes(b"c" * 32)
_PUBLIC: Final = dict(ALGORITHMS["EdDSA"].to_jwk(_KEY.public_key(), as_dict=True).items())
_JWKS: Final[dict[str, Any]] = {"keys": [{name: _PUBLIC[name] for name in ("kty", "crv", "x")} | {"kid": "c1"}]}
_KEYS: Final = parse_jwks(_JWKS)
_SETTINGS: Final = Settings(
    issuer=OURS, namespace="identity", name="corp", token_endpoint=ENDPOINT, subject_audiences=(OURS,)
)
_UNTIMED: Final[Any] = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


def _client(name: str, known: tuple[ClientSecret, ...] = (), **more: object) -> ClientRecord:
    members = {"identityProviderRef": {"name": "corp"}, "clientID": name, "grantTypes": [GRANT_TYPE], **more}
    return ClientRecord(namespace="identity", name=name, uid="u", generation=1, spec=members, secrets=known)


_CLIENTS: Final = {
    record.name: compile_client(record, _SETTINGS)
    for record in (
        _client("basic", (ClientSecret(digest=secrets.digest("basic", SECRET)),)),
        _client("post", (ClientSecret(digest=secrets.digest("post", SECRET)),), authMethod="client_secret_post"),
        _client("keyed", authMethod="private_key_jwt", jwks=_JWKS),
    )
}


def a_client(data: bytes) -> None:
    """Header Authorization, up to the end of the line, and the form; who is taken for a client has shown its secret."""
    head, _, body = data.partition(b"\n")
    with contextlib.suppress(form.FormError, OAuthError):
        fields = form.parse(body, REPEATABLE)
        shown = clientauth.presented(head.decode("latin-1") or None, fields)
        _judge(shown)
        if shown.assertion is None and shown.secret != SECRET:
            raise AssertionError(f"{shown.client_id} proved nothing")


def an_assertion(data: bytes) -> None:
    """The payload of an assertion that the client's key signed; what counts PyJWT takes for us, and counts once."""
    head = encode(orjson.dumps({"alg": "EdDSA", "kid": "c1", "typ": "JWT"})) + b"." + encode(data)
    text = (head + b"." + encode(_KEY.sign(head))).decode()
    fields = {"client_assertion_type": [clientauth.ASSERTION_TYPE], "client_assertion": [text]}
    with contextlib.suppress(OAuthError):
        marks = _judge(clientauth.presented(None, fields))
        jwt.decode(text, _KEY.public_key(), ["EdDSA"], options=_UNTIMED, audience=[OURS, ENDPOINT], issuer="keyed")
        if len(marks) != 1:
            raise AssertionError("an assertion counts more than once")


def _judge(shown: clientauth.Presented) -> tuple[object, ...]:
    found = _CLIENTS.get(shown.client_id)
    keys = _KEYS if shown.client_id == "keyed" else None
    return clientauth.authenticate(shown, found, settings=_SETTINGS, endpoint=ENDPOINT, keys=keys, now=NOW)


_BASIC: Final = b"Basic YmFzaWM6MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
_GOOD: Final = {"iss": "keyed", "sub": "keyed", "aud": ENDPOINT, "exp": int(NOW) + 60, "jti": "j1"}

TARGETS: Final[Mapping[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]]] = {
    "client": (
        a_client,
        (
            _BASIC + b"\ngrant_type=x",
            b"\nclient_id=post&client_secret=" + SECRET.encode(),
            b"\nclient_id=keyed&client_assertion_type="
            + clientauth.ASSERTION_TYPE.encode()
            + b"&client_assertion=a.b.c",
        ),
    ),
    "assertion": (an_assertion, (orjson.dumps(_GOOD), orjson.dumps(_GOOD | {"aud": [OURS, ENDPOINT], "nbf": 1}))),
}
"""By name: the function, and examples to begin with."""
