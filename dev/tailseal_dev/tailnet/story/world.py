"""Who and what there is: people, nodes, what the policy file grants, and the manifests of the identity provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailseal_dev.tailnet.net import Member, User
from tailseal_dev.tailnet.provider import Client

ISSUER: Final = "https://login.tn.test"
BILLING: Final = "https://billing.corp.example"
WIKI: Final = "https://wiki.corp.example"
SUBJECT: Final = "repo:acme/app:ref:refs/heads/main"
APP: Final = "example.com/cap/app"
IDP: Final = "tailseal.dev/cap/idp"
KIOSK: Final = "tag:kiosk"
GRAFANA: Final = Client("grafana", "grafana-keeps-this-secret-for-itself-0001", "https://grafana.corp.example/cb")

USERS: Final = (
    User("ana", "ana@corp.example", "Ana Ångström"),
    User("ben", "ben@corp.example", "Ben"),
    User("cleo", "cleo@corp.example", "Cleo"),
)
MEMBERS: Final = (
    Member("idp", tags=("tag:idp",)),
    Member("idp-2", tags=("tag:idp",)),
    Member("ana", "ana"),
    Member("phone", "ana"),
    Member("tablet", "ana"),
    Member("ben", "ben"),
    Member("cleo", "cleo"),
    Member("robot", tags=("tag:ci",)),
    Member("app", tags=("tag:app",)),
)
"""Phone and tablet are Ana's other devices. Of the two replicas each is a node of its own."""

_TAGS: Final = ("tag:idp", "tag:ci", "tag:app", KIOSK)
_LOGS_IN: Final = {"action": ["login"], "resource": ["client/grafana"]}
_BILLS: Final = {"action": ["exchange"], "resource": [f"audience/{BILLING}"]}
_ENGINEERS: Final = {
    "v": 1,
    "allow": [_LOGS_IN, _BILLS],
    "claims": {"groups": ["eng"]},
    "scopes": ["offline_access"],
}
_READS: Final = {"action": ["read"], "resources": ["items/1"]}


def policy(*, engineers: bool = True) -> dict[str, Any]:
    """The tailnet's policy file.

    Args:
        engineers: whether they, and kiosks, may log in and have tokens for billing.
    """
    grants: list[dict[str, Any]] = [
        {"src": ["autogroup:member", *_TAGS], "dst": ["tag:idp"], "ip": ["tcp:80", "tcp:8080"]},
        {"src": ["autogroup:member"], "dst": ["tag:app"], "ip": ["tcp:80"]},
        {"src": ["group:eng"], "dst": ["tag:app"], "app": {APP: [_READS]}},
        *([{"src": ["group:eng", KIOSK], "dst": ["tag:idp"], "app": {IDP: [_ENGINEERS]}}] if engineers else []),
    ]
    owned = {tag: ["ana@corp.example"] for tag in _TAGS}
    return {"groups": {"group:eng": ["ana@corp.example", "cleo@corp.example"]}, "tagOwners": owned, "grants": grants}


def manifests(jwks: str, ci: str, headscale: str, api_key: str, database: str) -> Mapping[str, str]:
    """What is applied, by name of the file.

    Args:
        jwks: JSON with the keys of the CI system.
        ci: its issuer.
        headscale: URL of its API.
        api_key: for that.
        database: URL of the PostgreSQL that replicas share; empty: there is one replica with a file of its own.
    """
    storage = "{type: Postgres, postgres: {urlSecretRef: {name: database}}}" if database else "{type: SQLite}"
    secrets = {"headscale": ("api_key", api_key), "grafana": ("client_secret", GRAFANA.secret)}
    if database:
        secrets["database"] = ("url", database)
    provider = f"""\
kind: IdentityProvider
metadata: {{name: login, namespace: identity}}
spec:
  issuer: {ISSUER}
  signingKeys: [{{name: login}}]
  storage: {storage}
  upstreams:
  - {{name: hs, headscale: {{apiURL: "{headscale}", apiKeySecretRef: {{name: headscale}}}}}}
"""
    client = f"""\
kind: OAuthClient
metadata: {{name: grafana, namespace: identity}}
spec:
  identityProviderRef: {{name: login}}
  clientID: {GRAFANA.id}
  secretRef: {{name: grafana}}
  redirectURIs: ["{GRAFANA.callback}"]
  grantTypes: [authorization_code, refresh_token, "urn:ietf:params:oauth:grant-type:device_code"]
  scopes: [openid, email, groups]
"""
    policies = {
        "robots": f"from: {{tailnet: {{tags: [tag:ci]}}}}\n  grants: [{_jwt('wiki', WIKI)}]",
        "billing": "from: {tailnet: {capability: {action: exchange, resource: "
        f'"audience/{BILLING}"}}}}}}\n  grants: [{_jwt("billing", BILLING)}]',
        "dashboards": f"from: {{session: {{clients: [{GRAFANA.id}]}}}}\n  grants: [{_jwt('wiki', WIKI)}]",
        "jobs": f'from: {{oidc: {{issuer: "{ci}", subject: {{exact: "{SUBJECT}"}}, keys: {{jwks: {jwks}}}}}}}\n'
        "  grants: [{name: join, tailscaleAuthKey: {upstream: hs, tags: [tag:ci], expiry: 2m}}]",
    }
    key = "kind: SigningKey\nmetadata: {name: login, namespace: identity}\nspec: {algorithm: RS256}\n"
    found = {"key": key, "provider": provider, "client": client}
    found |= {name: _policy(name, body) for name, body in policies.items()}
    return {f"{name}.yaml": f"apiVersion: tailseal.dev/v1alpha1\n{text}" for name, text in found.items()} | {
        f"{name}-secret.yaml": _secret(name, *content) for name, content in secrets.items()
    }


def _jwt(name: str, audience: str) -> str:
    return f'{{name: {name}, jwt: {{audiences: ["{audience}"], ttl: 5m}}}}'


def _policy(name: str, body: str) -> str:
    head = f"kind: TrustPolicy\nmetadata: {{name: {name}, namespace: identity}}\n"
    return f"{head}spec:\n  identityProviderRef: {{name: login}}\n  {body}\n"


def _secret(name: str, key: str, value: str) -> str:
    return f"""\
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: identity, labels: {{tailseal.dev/allow: "true"}}}}
stringData: {{{key}: "{value}"}}
"""
