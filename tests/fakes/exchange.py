"""One provider, one foreign issuer, one policy: what every test of the exchange starts from."""

# ruff: noqa: ANN401 - keys and claims are of many types
from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tailseal.domain.bundle.model import PolicyRecord, Settings
from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.tokens.exchange import Call, Exchange
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.tokens.request import GRANT_TYPE
from tailseal.tokens.signers import LocalSigner, Signer

NOW = 1_800_000_000.0
OURS = "https://idp.corp.example"
FOREIGN = "https://ci.example"
TARGET = "https://api.corp.example"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
FORM = "application/x-www-form-urlencoded"

SETTINGS = Settings(
    issuer=OURS,
    namespace="identity",
    name="corp",
    token_endpoint="https://sts.corp.example/token",
    subject_audiences=(OURS,),
)

SPEC: dict[str, Any] = {
    "identityProviderRef": {"name": "corp", "namespace": "identity"},
    "from": {
        "oidc": {
            "issuer": FOREIGN,
            "subject": {"exact": "repo:acme/app"},
            "claims": [{"claim": "repository_id", "exact": "42"}],
        }
    },
    "grants": [{"name": "api", "jwt": {"audiences": [TARGET], "scopes": ["read", "write"], "ttl": "5m"}}],
}


@lru_cache
def rsa_key(name: str = "", bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@lru_cache
def ec_key(name: str = "", curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


@lru_cache
def ed_key(name: str = "") -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: Any, kid: str | None, alg: str | None, **members: object) -> dict[str, Any]:
    """The public JWK of a private key."""
    kinds = {rsa.RSAPrivateKey: "RS256", ec.EllipticCurvePrivateKey: "ES256", ed25519.Ed25519PrivateKey: "EdDSA"}
    name = next(entry for kind, entry in kinds.items() if isinstance(key, kind))
    found: dict[str, Any] = jwt.PyJWS().get_algorithm_by_name(name).to_jwk(key.public_key(), as_dict=True)
    found.pop("key_ops", None)
    return found | {k: v for k, v in {"kid": kid, "alg": alg, **members}.items() if v is not None}


def claims(**changes: object) -> dict[str, object]:
    """A token's claims that the policy trusts; None takes a claim away."""
    content: dict[str, object] = {
        "iss": FOREIGN,
        "sub": "repo:acme/app",
        "aud": OURS,
        "iat": int(NOW) - 10,
        "exp": int(NOW) + 300,
        "repository_id": "42",
    }
    return {name: value for name, value in (content | changes).items() if value is not None}


def segment(content: object) -> bytes:
    raw = content if isinstance(content, bytes) else orjson.dumps(content)
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def token(payload: Any = None, header: Mapping[str, object] | None = None, key: Any = None, alg: str = "RS256") -> str:
    """A token of the foreign issuer; payload and header may be raw bytes."""
    head = {"alg": alg, "kid": "f1", "typ": "JWT"} if header is None else header
    signing_input = segment(head) + b"." + segment(claims() if payload is None else payload)
    signature = jwt.PyJWS().get_algorithm_by_name(alg).sign(signing_input, key or rsa_key("foreign"))
    return (signing_input + b"." + segment(signature)).decode()


def form(subject: str | None = None, **fields: object) -> bytes:
    content: dict[str, object] = {
        "grant_type": GRANT_TYPE,
        "subject_token": token() if subject is None else subject,
        "subject_token_type": JWT_TYPE,
    }
    return urlencode([(k, v) for k, v in (content | fields).items() if v is not None], doseq=True).encode()


def call(body: bytes | None = None, **fields: Any) -> Call:
    defaults = {"decision": "d1", "content_type": FORM, "peer": "127.0.0.9"}
    return Call(form() if body is None else body, **(defaults | fields))


class Keys:
    """Key sets in hand, and a record of what was asked for."""

    def __init__(self, sets: Mapping[KeySource, KeySet] | None = None) -> None:
        self.sets = dict(sets or {})
        self.asked: list[KeySource] = []

    def get(self, source: KeySource, kid: str | None) -> KeySet | None:
        self.asked.append(source)
        return self.sets.get(source)


def foreign_set(*extra: dict[str, Any]) -> KeySet:
    return parse_jwks({"keys": [jwk(rsa_key("foreign"), "f1", "RS256"), *extra]})


def record(spec: dict[str, Any] = SPEC, name: str = "ci", namespace: str = "identity") -> PolicyRecord:
    return PolicyRecord(namespace=namespace, name=name, uid=f"uid-{name}", generation=3, spec=spec)


def spec(**oidc: object) -> dict[str, Any]:
    """The policy's spec with other members of `from.oidc`; None takes one away."""
    merged = SPEC["from"]["oidc"] | oidc
    return SPEC | {"from": {"oidc": {k: v for k, v in merged.items() if v is not None}}}


class Bench:
    """An exchange over some policies, with the foreign issuer's keys in hand."""

    def __init__(
        self,
        *records: PolicyRecord,
        settings: Settings = SETTINGS,
        signer: Signer | None = LocalSigner(ec_key("ours"), "ES256", "k1"),  # noqa: B008
        max_token_ttl: int = 3600,
        keys: KeySet | None = None,
        published: Mapping[str, Any] = {"keys": []},
    ) -> None:
        self.index = PolicyIndex(compile_policy(entry, settings) for entry in (records or (record(),)))
        self.exchange = Exchange(settings, self.index, lambda _alg, _now: signer, max_token_ttl, published)
        loaded = keys or foreign_set()
        self.keys = Keys(dict.fromkeys(self.index.issuers(FOREIGN), loaded))

    def step(self, request: Call | None = None, now: float = NOW, **rest: Any) -> Any:
        return self.exchange.step(request or call(), self.keys, now, **rest)

    def answer(self, request: Call | None = None, now: float = NOW) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer."""
        outcome = self.step(request, now)
        return outcome.response.status, json.loads(outcome.response.body)

    def reason(self, subject: str, **fields: object) -> str:
        """The reason for which a subject token is refused; empty if it is not."""
        outcome = self.step(call(form(subject, **fields)))
        assert outcome.reason == outcome.audit.get("reason", "")
        return str(outcome.reason)
