"""The bill of materials: every installed package once, who needs whom, and equal bytes for equal environments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "dev" / "image" / "sbom.py"
LOCK = Path(__file__).parents[2] / "requirements" / "runtime.txt"


@pytest.fixture(scope="module")
def written() -> list[str]:
    argv = [sys.executable, "-B", str(SCRIPT)]
    runs = [subprocess.run(argv, capture_output=True, text=True, check=True) for _ in range(2)]
    return [run.stdout for run in runs]


@pytest.fixture(scope="module")
def bill(written: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(written[0])
    return document


def test_equal_environments_give_equal_bytes(written: list[str]) -> None:
    assert written[0] == written[1]


def test_the_product_is_the_subject_and_no_component_of_itself(bill: dict[str, Any]) -> None:
    assert bill["metadata"]["component"]["name"] == "tailseal"
    assert bill["metadata"]["component"]["type"] == "application"
    assert "tailseal" not in {component["name"] for component in bill["components"]}


def test_every_locked_package_of_this_platform_is_there_with_its_version(bill: dict[str, Any]) -> None:
    told = {component["purl"] for component in bill["components"]}
    locked = [line.split(" ")[0] for line in LOCK.read_text().splitlines() if line[:1].isalnum() and ";" not in line]
    assert len(locked) > 40
    assert {f"pkg:pypi/{entry.replace('==', '@')}" for entry in locked} <= told


def test_references_lead_to_what_is_there(bill: dict[str, Any]) -> None:
    subject = bill["metadata"]["component"]
    refs = [component["bom-ref"] for component in (subject, *bill["components"])]
    assert len(set(refs)) == len(refs)
    edges = {edge["ref"]: edge["dependsOn"] for edge in bill["dependencies"]}
    assert edges.keys() == set(refs)
    assert {need for needs in edges.values() for need in needs} <= set(refs)
    assert any(need.startswith("pkg:pypi/kopf@") for need in edges[subject["bom-ref"]])


def test_it_speaks_the_version_that_it_names(bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["serialNumber"].startswith("urn:uuid:")
