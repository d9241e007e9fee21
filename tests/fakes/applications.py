"""An OAuthClient and its provider on the fake cluster, and what tests ask of them."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from typing import Any

from fakes import trust
from fakes.world import World
from tailseal.api import meta
from tailseal.api.times import format_time
from tailseal.cluster import kinds
from tailseal.domain.bundle import digest, model
from tailseal.domain.evidence import Replica, Report
from tailseal.reconcile.bundle import controller as bundle
from tailseal.reconcile.oauthclient import controller as oauthclient

CONTROLLERS = {"Bundle": bundle.reconcile, "OAuthClient": oauthclient.reconcile}
TEAM = {
    "name": "team",
    "namespaces": {"from": "All"},
    "redirectHosts": ["grafana.corp.example"],
    "grantTypes": ["authorization_code", "refresh_token"],
    "audiences": ["grafana"],
}
ID = "oauthclient.team-a.grafana"


def provider(**members: Any) -> dict[str, Any]:  # noqa: ANN401 - as manifests have it
    return {
        "apiVersion": meta.API_VERSION,
        "kind": "IdentityProvider",
        "metadata": {"name": "corp", "namespace": "identity"},
        "spec": {"issuer": trust.OURS, "signingKeys": [{"name": "corp"}], "bounds": [TEAM]} | members,
    }


def client(name: str = "team-a/grafana", **members: Any) -> dict[str, Any]:  # noqa: ANN401
    namespace, name = name.split("/")
    spec = {
        "identityProviderRef": {"name": "corp", "namespace": "identity"},
        "redirectURIs": ["https://grafana.corp.example/login"],
    }
    return {
        "apiVersion": meta.API_VERSION,
        "kind": "OAuthClient",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec | members,
    }


def world(*objects: dict[str, Any], order: int | None = None) -> World:
    made = World(CONTROLLERS, order=order)
    for obj in objects or (provider(), client()):
        made.cluster.user_apply(copy.deepcopy(obj))
    return made


def manifest(made: World) -> dict[str, Any]:
    data = made.cluster.peek(kinds.CONFIG_MAP, "identity", "corp-policies")["data"]
    found: dict[str, Any] = json.loads(data[model.MANIFEST_FILE])
    return found


async def serve(made: World) -> None:
    """Replicas load what was written until nothing moves."""
    for _ in range(5):
        await made.converge()
        text = made.cluster.peek(kinds.CONFIG_MAP, "identity", "corp-policies")["data"][model.MANIFEST_FILE]
        now = made.clock.now()
        wanted = {"policies": digest.policies_digest(text.encode())}
        report = Report(now, now, now, wanted, frozenset(), frozenset(), {}, reads=model.VERSION)
        made.replicas.tell("identity", "corp", [Replica("sts-0", "sts-0", "sts", True, True, False, report)])
        await made.converge()


def secret(made: World, name: str = "grafana-oauthclient", namespace: str = "team-a") -> dict[str, str]:
    data = made.cluster.peek(kinds.SECRET, namespace, name)["data"]
    return {file: base64.b64decode(content).decode() for file, content in data.items()}


def served(made: World) -> dict[str, dict[str, Any]]:
    """The clients that the manifest names, by namespace and name."""
    if "clients" not in manifest(made):
        return {}
    data = made.cluster.peek(kinds.CONFIG_MAP, "identity", "corp-clients")["binaryData"][model.CLIENTS_FILE]
    records = json.loads(gzip.decompress(base64.b64decode(data)))["clients"]
    return {f"{record['namespace']}/{record['name']}": record for record in records}


def hashes(made: World, name: str = "team-a/grafana") -> list[str]:
    return [entry["digest"] for entry in served(made)[name]["secrets"]]


def status(made: World, name: str = "team-a/grafana") -> dict[str, Any]:
    found: dict[str, Any] = made.cluster.peek(kinds.OAUTH_CLIENT, *name.split("/"))["status"]
    return found


def conditions(made: World, name: str = "team-a/grafana") -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item["reason"]) for item in status(made, name)["conditions"]}


def message(made: World, kind: str, name: str = "team-a/grafana") -> str:
    return str(next(item["message"] for item in status(made, name)["conditions"] if item["type"] == kind))


def rotate(made: World) -> None:
    stamp = format_time(made.clock.now())
    made.cluster.user_edit(
        kinds.OAUTH_CLIENT,
        "team-a",
        "grafana",
        lambda obj: obj["metadata"].update(annotations={meta.ROTATE_ANNOTATION: stamp}),
    )
