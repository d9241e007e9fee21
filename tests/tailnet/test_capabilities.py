"""What a capability lets callers do beside logging in, on a real tailnet: ours, and tsidp's under tsidp's own name."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailnet import world
from tailseal_dev.tailnet import Node, Tailnet
from tailseal_dev.tailnet.provider import Provider
from tailseal_dev.tailnet.story import bundle

pytestmark = pytest.mark.tailnet
ISSUER = "https://login.tn.test:8444"
BILLING = "https://billing.corp.example"
TSIDP = "tailscale.com/cap/tsidp"
WITHIN = 180.0
RULES: dict[str, list[dict[str, Any]]] = {
    world.CAPABILITY: [
        {"v": 1, "allow": [{"action": ["register", "admin"], "resource": ["*"]}]},
        {"v": 1, "allow": [{"action": ["exchange"], "resource": [f"audience/{BILLING}"]}]},
    ],
    TSIDP: [{"allow_admin_ui": True, "allow_dcr": True, "users": ["*"], "resources": [BILLING]}],
}
MANIFESTS = """\
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {name: login, namespace: identity}
spec: {algorithm: RS256}
---
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {name: login, namespace: identity}
spec:
  issuer: %(issuer)s
  signingKeys: [{name: login}]
  storage: {type: SQLite}
  registration: {dynamic: Enabled}
  tailnet:
    mode: Direct
    port: 8444
    capability: %(capability)s
    auth: {authKeySecretRef: {name: login-joins}}
---
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {name: billing, namespace: identity}
spec:
  identityProviderRef: {name: login}
  from: {tailnet: {capability: {action: exchange, resource: "audience/%(billing)s"}}}
  grants: [{name: billing, jwt: {audiences: ["%(billing)s"], ttl: 5m}}]
---
apiVersion: v1
kind: Secret
metadata: {name: login-joins, namespace: identity, labels: {tailseal.dev/allow: "true"}}
stringData: {authkey: "not used here: the node has joined"}
"""


def policy(capability: str) -> dict[str, Any]:
    """Alice's group is granted all of it by that capability, and bob by the other."""
    told = world.policy(world.login_to("grafana"))
    (other,) = RULES.keys() - {capability}
    told["grants"] += [
        {"src": ["group:eng"], "dst": ["tag:idp"], "app": {capability: RULES[capability]}},
        {"src": ["bob@"], "dst": ["tag:idp"], "app": {other: RULES[other]}},
    ]
    return told


@pytest.fixture(params=sorted(RULES))
def provider(tailnet: Tailnet, request: pytest.FixtureRequest) -> Iterator[Provider]:
    directory = Path(tempfile.mkdtemp(prefix="provider-"))
    (directory / "manifests").mkdir()
    told = MANIFESTS % {"issuer": ISSUER, "capability": request.param, "billing": BILLING}
    (directory / "manifests" / "all.yaml").write_text(told)
    files = bundle.volumes(directory / "manifests")
    idp = tailnet.nodes["idp"]
    running = Provider(tailnet, idp, files, directory, issuer=ISSUER, mode="Direct", port=9463)
    try:
        hear(tailnet, policy(request.param))
        running.start()
        yield running
    finally:
        running.stop()
        hear(tailnet, world.policy(world.login_to("grafana")))
        shutil.rmtree(directory)


def hear(tailnet: Tailnet, told: dict[str, Any]) -> None:
    """Set a policy and wait until the provider's node knows what it grants to alice and bob."""
    tailnet.set_policy(told)
    wanted = {
        name: {capability for grant in told["grants"] if source in grant["src"] for capability in grant.get("app", ())}
        for name, source in {"alice": "group:eng", "bob": "bob@"}.items()
    }
    addresses = {name: tailnet.nodes[name].addresses[0] for name in wanted}
    deadline = time.monotonic() + WITHIN
    while {name: set(granted(tailnet.nodes["idp"], address)) for name, address in addresses.items()} != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def granted(node: Node, address: str) -> dict[str, Any]:
    return (node.whois(address) or {}).get("CapMap") or {}


def test_who_was_granted_it_registers_clients_sees_all_of_them_and_has_tokens(provider: Provider) -> None:
    alice, bob, machine = (provider.tailnet.nodes[name] for name in ("alice", "bob", "ci"))
    metadata = json.dumps({"redirect_uris": ["https://tool.corp.example/cb"], "client_name": "Tool"})
    register = ("/register", "--header", "Content-Type: application/json", "--data", metadata)
    status, body = provider.asked(alice, *register)
    assert status == 201, body
    client_id = json.loads(body)["client_id"]
    assert provider.asked(alice, "/clients/")[0] == 200
    status, body = provider.asked(alice, f"/clients/{client_id}")
    assert (status, json.loads(body)["introduced"]) == (200, "registered")
    status, body = provider.asked(alice, "/issue", "--request", "POST")
    assert status == 200, body
    assert provider.verified(json.loads(body)["token"])["aud"] == BILLING
    for node in (bob, machine):  # bob was granted as much by a capability that this provider does not ask for
        assert provider.asked(node, *register)[0] == 403
        assert provider.asked(node, "/clients/")[0] == 403
        assert provider.asked(node, f"/clients/{client_id}")[0] == 403
        assert provider.asked(node, "/issue", "--request", "POST")[0] == 403
