"""No object that the schemas let through is too large for etcd, or for a bundle's shard."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crd.cases import obj
from crd.maximal import maximal
from tailseal.api.crd.schema import structural
from tailseal.api.kinds import KINDS
from tailseal.api.parse import parse

LIMIT = 1_048_576


def largest(kind: str) -> dict[str, Any]:
    return obj(kind, maximal(structural(KINDS[kind].spec)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_object_stays_below_a_megabyte(kind: str) -> None:
    status = maximal(structural(KINDS[kind].status))
    assert len(json.dumps(largest(kind) | {"status": status})) < LIMIT


@pytest.mark.parametrize("kind", KINDS)
def test_python_reads_the_largest_object(kind: str) -> None:
    parse(kind, largest(kind))


@pytest.mark.cluster
@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_object_is_created(kind: str, api: Any) -> None:  # noqa: ANN401
    answer = api.create(largest(kind), dry_run=False)
    assert answer.status_code == 201, answer.json()["message"][:2000]
