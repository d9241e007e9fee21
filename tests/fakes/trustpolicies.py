"""A world of TrustPolicies at one provider, and what their status says."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from fakes import trust
from fakes.world import World
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.domain.bundle import digest, model
from tailseal.domain.evidence import Replica, Report
from tailseal.reconcile import trustpolicy
from tailseal.reconcile.bundle import controller as bundle

CONTROLLERS = {"Bundle": bundle.reconcile, "TrustPolicy": trustpolicy.reconcile}
ALL = {"name": "all", "namespaces": {"from": "All"}, "issuers": ["*"], "keySources": ["*"], "audiences": ["*"]}


def provider(**members: Any) -> dict[str, Any]:  # noqa: ANN401 - as manifests have it
    return {
        "apiVersion": meta.API_VERSION,
        "kind": "IdentityProvider",
        "metadata": {"name": "corp", "namespace": "identity"},
        "spec": {"issuer": trust.OURS, "signingKeys": [{"name": "corp"}], "bounds": [ALL]} | members,
    }


def policy(name: str = "team-a/deploy", **members: Any) -> dict[str, Any]:  # noqa: ANN401
    namespace, name = name.split("/")
    return {
        "apiVersion": meta.API_VERSION,
        "kind": "TrustPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": trust.spec() | members,
    }


def world(*objects: dict[str, Any], order: int | None = None) -> World:
    made = World(CONTROLLERS, order=order)
    for obj in objects or (provider(), policy()):
        made.cluster.user_apply(copy.deepcopy(obj))
    return made


def replicas(made: World, *names: str) -> list[Replica]:
    """Replicas that report the policies as they are written now."""
    manifest = made.cluster.peek(kinds.CONFIG_MAP, "identity", meta.policies_config_map("corp"))["data"][
        "manifest.json"
    ]
    now = made.clock.now()
    wanted = {"policies": digest.policies_digest(manifest.encode())}
    report = Report(now, now, now, wanted, frozenset(), frozenset(), {}, reads=model.VERSION)
    return [Replica(name, name, "sts", True, True, False, report) for name in names]


async def serve(made: World, reporting: Sequence[Replica] | None = None) -> None:
    await made.converge()
    made.replicas.tell("identity", "corp", replicas(made, "sts-0", "sts-1") if reporting is None else reporting)
    await made.converge()


def conditions(made: World, name: str = "team-a/deploy") -> dict[str, tuple[str, str]]:
    status = made.cluster.peek(kinds.TRUST_POLICY, *name.split("/"))["status"]
    return {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]}


def message(made: World, kind: str, name: str = "team-a/deploy") -> str:
    status = made.cluster.peek(kinds.TRUST_POLICY, *name.split("/"))["status"]
    text: str = next(item["message"] for item in status["conditions"] if item["type"] == kind)
    return text


READY = {
    "Accepted": ("True", "Accepted"),
    "ResolvedRefs": ("True", "Resolved"),
    "Programmed": ("True", "Programmed"),
    "Ready": ("True", "Ready"),
}
