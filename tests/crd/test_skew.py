"""CRDs that are older or newer than the operator: it says which fields that is about."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailseal.api.crd.skew import OPENAPI_PATH, skew
from tailseal.api.kinds import KINDS

pytestmark = pytest.mark.cluster
PUBLISHED_WITHIN = 60.0


@pytest.fixture(scope="module")
def document(crds: Path, kubectl: Callable[..., str]) -> dict[str, Any]:
    """What the real API server says of our CRDs, once it does: it works that out after it serves them."""
    deadline = time.monotonic() + PUBLISHED_WITHIN
    while True:
        answer: dict[str, Any] = json.loads(kubectl("get", f"--raw={OPENAPI_PATH}", check=False) or "{}")
        if all(_is_told(answer, kind) for kind in KINDS) or time.monotonic() > deadline:
            return answer
        time.sleep(0.2)


def _is_told(document: dict[str, Any], kind: str) -> bool:
    try:
        return bool(_spec(document, kind))
    except KeyError:
        return False


def _spec(document: dict[str, Any], kind: str) -> dict[str, Any]:
    for schema in document["components"]["schemas"].values():
        if any(entry["kind"] == kind for entry in schema.get("x-kubernetes-group-version-kind", ())):
            fields: dict[str, Any] = schema["properties"]["spec"]["properties"]
            return fields
    raise KeyError(kind)


def test_of_its_own_crds_nothing_is_said(document: dict[str, Any]) -> None:
    assert skew(document) == []


def test_older_ones_are_named_with_what_is_lost(document: dict[str, Any]) -> None:
    older = copy.deepcopy(document)
    del _spec(older, "SigningKey")["revokedKeyIDs"]
    (said,) = skew(older)
    assert said.startswith(
        "the CRDs are older than this operator: the API server forgets SigningKey.spec.revokedKeyIDs; "
    )


def test_newer_ones_are_named_with_what_is_ignored(document: dict[str, Any]) -> None:
    newer = copy.deepcopy(document)
    _spec(newer, "TrustPolicy")["later"] = {"type": "object", "properties": {"more": {"type": "string"}}}
    (said,) = skew(newer)
    assert said.startswith("the CRDs are newer than this operator: it does nothing about TrustPolicy.spec.later, ")


def test_of_many_fields_the_outermost_are_named(document: dict[str, Any]) -> None:
    older = copy.deepcopy(document)
    _spec(older, "IdentityProvider").clear()
    (said,) = skew(older)
    assert "IdentityProvider.spec.issuer" in said
    assert " more; apply" in said
