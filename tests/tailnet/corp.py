"""The provider that tests ask on a real tailnet: whom its policies mean, what it acts by, and a CI job that asks it."""

from __future__ import annotations

import json
import time
from typing import Any

from fakes import exchange, idp, oauthclients
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import HeadscaleUpstream, PolicyRecord, Settings, Upstream
from tailseal.domain.policy.grants import AUTH_KEY
from tailseal_dev.tailnet import Tailnet
from tailseal_dev.tailnet.headscale import URL
from tailseal_dev.tailnet.provider import Client, Provider

BILLING, WIKI, VAULT = (f"https://{name}.corp.example" for name in ("billing", "wiki", "vault"))
PORT = 9443


def policy(name: str, source: dict[str, Any], **grant: Any) -> PolicyRecord:  # noqa: ANN401 - as in a manifest
    spec = {"identityProviderRef": {"name": "corp"}, "from": source, "grants": [{"name": "g", **grant}]}
    return PolicyRecord(namespace="identity", name=name, uid=f"uid-{name}", generation=1, spec=spec)


def of_ci(**grant: Any) -> PolicyRecord:  # noqa: ANN401
    """Trusts jobs of a CI system whose keys stand in the policy."""
    keys = {"jwks": {"keys": [exchange.jwk(exchange.rsa_key("foreign"), "f1", "RS256")]}}
    return policy(
        "ci", {"oidc": {"issuer": exchange.FOREIGN, "subject": {"exact": "repo:acme/app"}, "keys": keys}}, **grant
    )


JOIN = {"upstream": "hs", "tags": ["tag:ci"], "ephemeral": True, "expiry": "2m"}
POLICIES = (
    policy("people", {"tailnet": {"users": ["*@example.com"]}}, jwt={"audiences": [BILLING, WIKI], "ttl": "5m"}),
    policy("machines", {"tailnet": {"tags": ["tag:ci"]}}, jwt={"audiences": [BILLING], "ttl": "5m"}),
    policy(
        "readers",
        {"tailnet": {"capability": {"action": "login", "resource": "client/grafana"}}},
        jwt={"audiences": ["https://grafana.corp.example"], "ttl": "5m"},
    ),
    policy("engineers", {"tailnet": {"groups": ["eng"]}}, jwt={"audiences": [VAULT, WIKI], "ttl": "5m"}),
    policy("named", {"tailnet": {"groups": ["group:eng"]}}, jwt={"audiences": [VAULT], "ttl": "5m"}),
    of_ci(tailscaleAuthKey=JOIN),
)


CLIENT = Client(oauthclients.ID, oauthclients.SECRET, idp.CALLBACK)


def volumes(tailnet: Tailnet) -> dict[str, dict[str, bytes]]:
    """What the provider acts by; headscale's own API is the upstream that keys come from."""
    settings = Settings(
        issuer=exchange.OURS,
        namespace="identity",
        name="corp",
        token_endpoint=f"{exchange.OURS}/token",
        subject_audiences=(exchange.OURS,),
        upstreams=(Upstream(name="hs", headscale=HeadscaleUpstream(api_url=URL, credential="hs")),),
        open_hosts=("127.0.0.1",),
        state="SQLite",
    )
    clients = build.clients([oauthclients.record(scopes=["openid", "offline_access"])])[0]
    key = tailnet.headscale.json("apikeys", "create", "--expiration", "1h")
    this = {"tailnet": {"nodes": [str(tailnet.headscale.nodes()["ci"]["id"])]}}
    of_one = (
        policy("this-node", this, jwt={"audiences": [BILLING], "ttl": "5m"}),
        policy("this-node-joins", this, tailscaleAuthKey=JOIN),
    )
    return {
        "signing": idp.signing(exchange.OURS),
        "policies": build.policies_volume(settings, build.shards((*POLICIES, *of_one)).files, clients),
        "credentials": {"hs.api_key": key.encode()},
    }


def job_asks(provider: Provider, **claims: object) -> dict[str, Any]:
    """What a CI job gets for its OIDC token."""
    now = int(time.time())
    subject = exchange.token(exchange.claims(iat=now, exp=now + 300, **claims))
    body = exchange.form(subject, requested_token_type=AUTH_KEY).decode()
    argv = ["curl", "--silent", "--noproxy", "*", "--data", body, f"http://127.0.0.1:{PORT}/token"]
    result = provider.tailnet.space.run(argv)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer
