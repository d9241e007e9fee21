"""No change of a CRD strands what people have: no field is lost and no rule is tightened against the former release."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailseal_dev.crds import tightened
from tailseal_dev.former import COMMIT as FORMER

ROOT = Path(__file__).parents[2]

_NOT_YET = "the former release refused what this is about, so nothing of it worked"
_NODE = "IdentityProvider.spec.tailnet.auth.workloadIdentity"
ALLOWED: dict[str, str] = {
    "IdentityProvider.spec: new rule: idp.replicas above 1 needs storage.type Postgres: replicas must agree on who is "
    "logged in": "the former identity provider knew no logins; objects that are there stay, and say what is missing",
    "IdentityProvider.spec: new rule: with tailnet, idp.replicas is at most 8: each is a node of its own": _NOT_YET,
    "IdentityProvider.spec.tailnet: new rule: auth.oauthClientSecretRef needs tags: what an OAuth client brings in "
    "belongs to nobody": _NOT_YET,
    "IdentityProvider.spec.tailnet: new rule: auth.workloadIdentity needs tags: what a federated identity brings in "
    "belongs to nobody": _NOT_YET,
    "IdentityProvider.spec: new rule: with tailnet.service, the issuer's host begins with its name: https://idp."
    "<tailnet> for svc:idp": _NOT_YET,
    "IdentityProvider.spec.tailnet: new rule: service goes with mode Serve only: what a Service forwards does not say "
    "whose it is": _NOT_YET,
    "IdentityProvider.spec.tailnet: new rule: sharedBy goes with mode Direct only: `tailscale serve` answers by the "
    "node's own name": "no object has it yet",
    "IdentityProvider.spec.tailnet: new rule: funnel does not go with service: it leads to one node's own name": (
        _NOT_YET
    ),
    f"{_NODE}.clientID: pattern ^[!-~]+$ became ^[A-Za-z0-9][A-Za-z0-9-]*$": _NOT_YET,
    f"{_NODE}.scopes: gone": _NOT_YET,
    f"{_NODE}.tags: gone": _NOT_YET,
    "TrustPolicy.spec.grants[].jwt.claims[]: new rule: exactly one of string, strings, integer, boolean must be "
    "given": ("claims that were there have a string"),
}
"""What is tightened all the same, by line, and why nobody is stranded by it."""


def _former(name: str) -> dict[str, Any]:
    argv = ["git", "-C", str(ROOT), "show", f"{FORMER}:crds/{name}"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        pytest.skip(f"this clone does not have the commit {FORMER}")
    document: dict[str, Any] = yaml.safe_load(shown.stdout)
    return document


@pytest.mark.parametrize("path", sorted((ROOT / "crds").glob("tailseal*.yaml")), ids=lambda path: path.name)
def test_objects_of_the_former_release_are_still_taken(path: Path) -> None:
    found = tightened(_former(path.name), yaml.safe_load(path.read_text()))
    assert [line for line in found if line not in ALLOWED] == [], "undo it, or say in ALLOWED why nobody is stranded"


def _crd() -> dict[str, Any]:
    name = {"type": "string", "maxLength": 9, "enum": ["a", "b"], "default": "a"}
    count = {"type": "integer", "minimum": 1}
    ruled = {"type": "object", "properties": {"x": {"type": "string"}}, "x-kubernetes-validations": [{"rule": "r"}]}
    spec = {"type": "object", "properties": {"name": name, "counts": {"type": "array", "items": count}, "ruled": ruled}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    version = {"name": "v1", "served": True, "schema": schema, "selectableFields": [{"jsonPath": ".spec.name"}]}
    return {"spec": {"names": {"kind": "K"}, "versions": [version]}}


def _spec(crd: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _rule(crd: dict[str, Any], text: str, member: str = "ruled") -> None:
    rules = _spec(crd)["properties"][member].setdefault("x-kubernetes-validations", [])
    rules.append({"rule": text, "message": "no"})


CHANGES: list[tuple[Callable[[dict[str, Any]], object], list[str]]] = [
    (lambda _: None, []),
    (lambda crd: _spec(crd)["properties"].update(new={"type": "string"}), []),
    (lambda crd: _spec(crd)["properties"]["name"].update(maxLength=10, enum=["a", "b", "c"]), []),
    (lambda crd: _spec(crd)["properties"].pop("name"), ["K.spec.name: gone"]),
    (lambda crd: _spec(crd).update(required=["ruled"]), ["K.spec.ruled: required now"]),
    (lambda crd: _spec(crd).update(required=["name"]), []),
    (lambda crd: _spec(crd)["properties"]["name"].update(maxLength=8), ["K.spec.name: maxLength 9 became 8"]),
    (lambda crd: _spec(crd)["properties"]["name"].update(enum=["a"]), ["K.spec.name: no longer allowed: b"]),
    (lambda crd: _spec(crd)["properties"]["name"].update(pattern="x"), ["K.spec.name: pattern None became x"]),
    (lambda crd: _spec(crd)["properties"]["name"].pop("default"), ["K.spec.name: default a became None"]),
    (
        lambda crd: _spec(crd)["properties"]["counts"]["items"].update(minimum=2, type="number"),
        ["K.spec.counts[]: type integer became number", "K.spec.counts[]: minimum 1 became 2"],
    ),
    (lambda crd: _rule(crd, "s"), ["K.spec.ruled: new rule: no"]),
    (lambda crd: _rule(crd, "self.x == 'a'"), ["K.spec.ruled: new rule: no"]),
    (lambda crd: _rule(crd, "!has(self.new) || self.new == 'a'"), []),
    (lambda crd: _rule(crd, "self.new == 'a'"), ["K.spec.ruled: new rule: no"]),
    (lambda crd: _rule(crd, "!has(self.new) || self.newer == 'a'"), ["K.spec.ruled: new rule: no"]),
    (lambda crd: _rule(crd, "self.all(x, x == 2)", "counts"), ["K.spec.counts: new rule: no"]),
    (lambda crd: _rule(crd, "self.matches('^a$')", "name"), ["K.spec.name: new rule: no"]),
    (lambda crd: crd["spec"]["versions"][0].pop("selectableFields"), ["K.spec.name: no longer selectable"]),
    (lambda crd: crd["spec"]["versions"][0].update(served=False), ["K: version v1 is served no more"]),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[" ".join(said) or "fine" for _, said in CHANGES])
def test_a_change_that_would_strand_objects_is_named(
    change: Callable[[dict[str, Any]], object], said: list[str]
) -> None:
    before, after = _crd(), copy.deepcopy(_crd())
    change(after)
    assert tightened(before, after) == said
