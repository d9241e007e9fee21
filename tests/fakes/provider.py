"""A provider, its key and policies on the fake cluster: what the tests of its reconcilers start from."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
from typing import Any

from fakes.world import World
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.reconcile import propagation
from tailseal.reconcile.bundle import controller as bundle
from tailseal.reconcile.context import OperatorSettings
from tailseal.reconcile.identityprovider import controller as identityprovider
from tailseal.reconcile.publish import controller as publish
from tailseal.reconcile.signingkey import controller as signingkey

NS = "identity"
ISSUER = "https://idp.corp.example"
FOREIGN = "https://ci.example"

CONTROLLERS = {
    "SigningKey": signingkey.reconcile,
    "IdentityProvider": identityprovider.reconcile,
    "Bundle": bundle.reconcile,
    "Propagation": propagation.reconcile,
    "Publish": publish.reconcile,
}


OWNED = [
    (kind, name)
    for kind, names in {
        kinds.SECRET: ("corp-signing", "corp-credentials"),
        kinds.CONFIG_MAP: ("corp-accepted", "corp-policies", "corp-policies-05"),
        kinds.SERVICE_ACCOUNT: ("corp-sts", "corp-idp"),
        kinds.SERVICE: ("corp-sts", "corp-idp"),
        kinds.NETWORK_POLICY: ("corp-sts", "corp-idp"),
        kinds.POD_DISRUPTION_BUDGET: ("corp-sts",),
        kinds.DEPLOYMENT: ("corp-sts", "corp-idp"),
    }.items()
    for name in names
]
"""What the standard provider owns."""


def signing_key(name: str = "corp", **spec: Any) -> Object:  # noqa: ANN401 - whatever the spec holds
    return {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": "SigningKey",
        "metadata": {"name": name, "namespace": NS},
        "spec": {"algorithm": "ES256", **spec},
    }


def provider(name: str = "corp", **spec: Any) -> Object:  # noqa: ANN401
    return {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": "IdentityProvider",
        "metadata": {"name": name, "namespace": NS},
        "spec": {
            "issuer": ISSUER,
            "signingKeys": [{"name": "corp"}],
            "sts": {"replicas": 2},
            "idp": {"replicas": 1},
            **spec,
        },
    }


def policy(name: str = "deploy", namespace: str = NS, *, subject: str = "repo:a", ttl: str | None = None) -> Object:
    grant: dict[str, Any] = {"audiences": ["https://billing.corp.example"]} | ({"ttl": ttl} if ttl else {})
    return {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": "TrustPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "identityProviderRef": {"name": "corp", "namespace": NS},
            "from": {"oidc": {"issuer": FOREIGN, "subject": {"exact": subject}}},
            "grants": [{"name": "billing", "jwt": grant}],
        },
    }


def secret(name: str, *, allowed: bool = True, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": NS,
            "labels": {meta.ALLOW_LABEL: "true"} if allowed else {"team": "x"},
        },
        "data": {file: base64.b64encode(content.encode()).decode() for file, content in data.items()},
    }


def world(*objects: Object, order: int | None = None, settings: OperatorSettings | None = None) -> World:
    """A world with the objects applied, not converged yet."""
    made = World(CONTROLLERS, order=order, settings=settings)
    for obj in objects:
        made.cluster.user_apply(obj)
    return made


def standard(order: int | None = None) -> World:
    return world(signing_key(), provider(), policy(), order=order)


def status(seen: World, name: str = "corp") -> dict[str, Any]:
    found: dict[str, Any] = seen.cluster.peek(kinds.IDENTITY_PROVIDER, NS, name).get("status", {})
    return found


def conditions(seen: World, name: str = "corp") -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in status(seen, name).get("conditions", ())}


def message(seen: World, type_: str) -> str:
    return str(next(entry["message"] for entry in status(seen)["conditions"] if entry["type"] == type_))


def files(seen: World, name: str) -> dict[str, bytes]:
    """The files of a Secret."""
    data = seen.cluster.peek(kinds.SECRET, NS, name).get("data", {})
    return {file: base64.b64decode(content) for file, content in data.items()}


def signing(seen: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(seen, "corp-signing")["signing.json"])
    return found


def pod(seen: World, number: int = 0) -> Object:
    """What the pod of this numbered replica is to be."""
    found: Object = seen.cluster.peek(kinds.DEPLOYMENT, NS, f"corp-idp-{number}")["spec"]["template"]["spec"]
    return found


def rolled_out(seen: World, number: int, available: int = 1) -> None:
    """What the cluster's own controller would say of this numbered replica by now."""

    def tell(obj: Object) -> None:
        counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": available}
        obj["status"] = {"observedGeneration": obj["metadata"].get("generation", 0), **counts}

    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, f"corp-idp-{number}", tell)


def nodes_tell(seen: World, *told: dict[str, str]) -> None:
    """Let the identity provider's replicas, by their number, report this of their nodes; others report none."""
    found = []
    for replica in seen.replicas.obedient(NS, "corp"):
        if replica.component != "idp":
            found.append(replica)
            continue
        number = int(replica.name.split("-")[2])
        assert replica.report is not None
        report = dataclasses.replace(replica.report, node=told[number] if number < len(told) else {})
        found.append(dataclasses.replace(replica, report=report, labels={meta.ORDINAL_LABEL: str(number)}))
    seen.replicas.tell(NS, "corp", found)


def revoke(seen: World) -> None:
    """Revoke what signs now."""
    kid = signing(seen)["active"]["ES256"]
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update({"revokedKeyIDs": [kid]}))


def manifest(seen: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-policies")["data"]["manifest.json"]
    )
    return found


def held_policies(seen: World) -> list[str]:
    """Ids of the policies in all shards that the manifest names."""
    found = []
    for number in manifest(seen).get("shards", {}):
        data = seen.cluster.peek(kinds.CONFIG_MAP, NS, f"corp-policies-{number}")["binaryData"][f"{number}.json.gz"]
        shard = json.loads(gzip.decompress(base64.b64decode(data)))
        found += [f"{record['namespace']}/{record['name']}" for record in shard["policies"]]
    return sorted(found)


def assert_ready(seen: World) -> None:
    """All that the standard provider owns is there, its policy grants and its key signs."""
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert held_policies(seen) == ["identity/deploy"]
    assert signing(seen)["active"]["ES256"] in {key["kid"] for key in signing(seen)["jwks"]["keys"]}
    assert {(kind, name) for kind, name in OWNED if seen.cluster.exists(kind, NS, name)} == set(OWNED)
