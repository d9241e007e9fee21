"""OAuth clients for tests, each complete unless a test says otherwise."""

from __future__ import annotations

import json
from typing import Any, Final

from fakes import trust
from tailseal.domain.bundle.model import ClientRecord, ClientSecret
from tailseal.domain.clients import secrets
from tailseal.domain.clients.compile import CompiledClient, compile_client
from tailseal.domain.keys import public
from tailseal.tokens import compact

SECRET: Final = "0123456789abcdef" * 2
ID: Final = "grafana"


def record(client_id: str = ID, **spec: Any) -> ClientRecord:  # noqa: ANN401 - as manifests have it
    members: dict[str, Any] = {
        "identityProviderRef": {"name": "corp"},
        "clientID": client_id,
        "redirectURIs": ["https://app.example/cb"],
    }
    secret = ClientSecret(digest=secrets.digest(client_id, SECRET))
    return ClientRecord(
        namespace="identity",
        name=client_id,
        uid=f"uid-{client_id}",
        generation=1,
        spec={name: value for name, value in (members | spec).items() if value is not None},
        secrets=() if spec.get("type") == "Public" or "jwks" in spec or "jwksURI" in spec else (secret,),
    )


def robot(api: str) -> ClientRecord:
    """A client that asks in its own name, for tokens for that service."""
    return record(
        "robot",
        grantTypes=["client_credentials"],
        redirectURIs=None,
        scopes=["invoices.read", "openid"],
        audiences=[api],
    )


def client(client_id: str = ID, **spec: Any) -> CompiledClient:  # noqa: ANN401
    return compile_client(record(client_id, **spec), trust.settings(bounds=()))


def jwt(private: Any, header: dict[str, Any], claims: dict[str, Any]) -> str:  # noqa: ANN401 - any Ed25519 or EC key
    """A signed JWT by an Ed25519 key."""
    head, body = (compact.encode(json.dumps(part).encode()) for part in ({"alg": "EdDSA"} | header, claims))
    return b".".join((head, body, compact.encode(private.sign(head + b"." + body)))).decode()


def jwks(private: Any, kid: str = "k1") -> dict[str, Any]:  # noqa: ANN401
    return {"keys": [public.jwk_of(private.public_key(), "EdDSA") | {"kid": kid}]}
