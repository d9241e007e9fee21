"""The CRDs as the real API server reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from crd.cases import MINIMAL, Case, obj
from crd.rule_cases import CASES
from crd.schema_cases import VERDICTS
from tailseal.api.kinds import KINDS
from tailseal.api.meta import GROUP

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def dry(crds: Path, client: httpx.Client) -> Callable[[dict[str, Any]], httpx.Response]:
    """Ask whether an object would be created, without creating it."""

    def create(item: dict[str, Any]) -> httpx.Response:
        path = f"/apis/{item['apiVersion']}/namespaces/default/{KINDS[item['kind']].plural}"
        return client.post(path, json=item, params={"dryRun": "All", "fieldValidation": "Strict"})

    return create


def test_the_crds_are_established_with_nothing_to_complain_about(crds: Path, kubectl: Callable[..., str]) -> None:
    items = json.loads(kubectl("get", "crd", "-o", "json"))["items"]
    ours = [item for item in items if item["spec"]["group"] == GROUP]
    assert len(ours) == len(KINDS)
    for item in ours:
        status = {condition["type"]: condition["status"] for condition in item["status"]["conditions"]}
        assert status.get("Established") == status.get("NamesAccepted") == "True"
        assert status.get("NonStructuralSchema", "False") == "False"


def test_the_api_server_keeps_the_crds_as_they_are_written(crds: Path, kubectl: Callable[..., str]) -> None:
    """Whoever compares what is there with what is in Git, as Argo CD does, must see no difference."""
    for path in sorted(crds.glob("tailseal*.yaml")):
        written = yaml.safe_load(path.read_text())
        stored = json.loads(kubectl("get", "crd", written["metadata"]["name"], "-o", "json"))
        assert stored["spec"].pop("conversion") == {"strategy": "None"}
        assert stored["spec"] == written["spec"], path.name


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_has_looked_at_says_so(kind: str, dry: Callable[..., httpx.Response]) -> None:
    assert dry(obj(kind, {}) | {"status": {"observedGeneration": 1}}).json()["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_keeps_a_rule_is_created(case: Case, dry: Callable[..., httpx.Response]) -> None:
    answer = dry(obj(case.kind, case.keeps, case.names[0]))
    assert answer.status_code == 201, answer.json()["message"]


@pytest.mark.parametrize("case", [case for case in CASES if case.was is None], ids=str)
def test_what_breaks_a_rule_is_refused_in_its_words(case: Case, dry: Callable[..., httpx.Response]) -> None:
    answer = dry(obj(case.kind, case.breaks, case.names[1]))
    assert answer.status_code == 422
    assert case.message in answer.json()["message"]


@pytest.mark.parametrize("case", [case for case in CASES if case.was is not None], ids=str)
def test_a_change_that_breaks_a_rule_is_refused_in_its_words(case: Case, api: Any) -> None:  # noqa: ANN401
    assert api.apply(obj(case.kind, case.was or {})).status_code == 201
    assert api.apply(obj(case.kind, case.keeps), dry_run=True).status_code == 200
    answer = api.apply(obj(case.kind, case.breaks), dry_run=True)
    assert answer.status_code == 422
    assert case.message in answer.json()["message"]


@pytest.mark.parametrize(
    ("kind", "change", "accepted"), [verdict[1:] for verdict in VERDICTS], ids=[verdict[0] for verdict in VERDICTS]
)
def test_the_schema_decides_as_python_does(
    kind: str,
    change: dict[str, Any],
    accepted: bool,  # noqa: FBT001
    dry: Callable[..., httpx.Response],
) -> None:
    answer = dry(obj(kind, change))
    assert (answer.status_code == 201) is accepted, answer.json().get("message")


@pytest.mark.parametrize("kind", MINIMAL)
def test_the_minimal_object_gets_the_defaults_that_the_models_have(
    kind: str, dry: Callable[..., httpx.Response]
) -> None:
    stored = dry(obj(kind, {})).json()["spec"]
    model = KINDS[kind].spec
    assert model.model_validate(stored) == model.model_validate(MINIMAL[kind])


_CI = {"issuer": "https://ci.example"}
_URI = {"jwksURI": "https://ci.example/keys"}
_GITHUB = {"github": {"ownerID": "65"}}
_IMPORT = {"import": {"secretRef": {"name": "mine"}}}
_POSTGRES = {"type": "Postgres", "postgres": {"urlSecretRef": {"name": "db"}}}
SWITCHES = (
    (
        "TrustPolicy",
        {"from": {"oidc": _CI | {"keys": {"discovery": {}}}}},
        {"from": {"oidc": _CI | {"keys": _URI}}},
        {"from": {"oidc": {"keys": {"discovery": None} | _URI}}},
        "found: discovery jwksURI",
    ),
    (
        "TrustPolicy",
        {"from": {"oidc": _CI}},
        {"from": _GITHUB},
        {"from": {"oidc": None} | _GITHUB},
        "found: oidc github",
    ),
    (
        "SigningKey",
        {"source": {"generate": {}}},
        {"source": _IMPORT},
        {"source": {"generate": None} | _IMPORT},
        "found: generate import",
    ),
    (
        "IdentityProvider",
        {"storage": {"type": "SQLite", "sqlite": {"volume": {"size": "1Gi"}}}},
        {"storage": _POSTGRES},
        {"storage": {"sqlite": None} | _POSTGRES},
        "found: sqlite postgres",
    ),
)


@pytest.mark.parametrize(("kind", "old", "new", "cure", "found"), SWITCHES, ids=[switch[-1] for switch in SWITCHES])
def test_git_can_switch_a_union_and_is_told_who_else_holds_it(
    kind: str,
    old: dict[str, Any],
    new: dict[str, Any],
    cure: dict[str, Any],
    found: str,
    api: Any,  # noqa: ANN401
) -> None:
    assert api.apply(obj(kind, old)).status_code == 201
    assert api.apply(obj(kind, new)).status_code == 200
    assert api.apply(obj(kind, old)).status_code == 200
    assert api.apply(obj(kind, old), manager="somebody-else").status_code == 200
    refused = api.apply(obj(kind, new), force=True)
    assert refused.status_code == 422
    assert found in refused.json()["message"]
    assert "kubectl patch" in refused.json()["message"]
    assert api.patch(kind, "case", {"spec": cure}).status_code == 200
    assert api.apply(obj(kind, new), force=True).status_code == 200


def test_kubectl_explains_every_object(crds: Path, kubectl: Callable[..., str]) -> None:
    for kind, field in (("SigningKey", "rotation"), ("IdentityProvider", "tailnet"), ("TrustPolicy", "from.oidc")):
        text = kubectl("explain", f"{kind.lower()}.spec.{field}")
        assert "<empty>" not in text
        assert "DESCRIPTION:" in text


def test_kubectl_lists_by_category_short_name_and_provider(
    api: Any,  # noqa: ANN401
    namespace: str,
    kubectl: Callable[..., str],
) -> None:
    assert api.create(obj("TrustPolicy", {}, "mine"), dry_run=False).status_code == 201
    other = {"identityProviderRef": {"name": "corp", "namespace": "identity"}}
    assert api.create(obj("TrustPolicy", other, "theirs"), dry_run=False).status_code == 201
    assert "mine" in kubectl("get", "tailseal", "-n", namespace)
    selector = "spec.identityProviderRef.name=corp,spec.identityProviderRef.namespace=identity"
    listed = kubectl("get", "tpol", "-n", namespace, "--field-selector", selector)
    assert listed.split()[:3] == ["NAME", "READY", "PROVIDER"]
    assert "theirs" in listed
    assert "mine" not in listed
