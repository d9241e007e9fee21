"""What others check manifests with before they apply them: kubeconform, on all that an installer gets from us.

The API server refuses more, and only what it knows; the kinds of the Prometheus operator it does not.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from chart.test_install import VARIANTS
from tailseal_dev import chart, schemas
from tailseal_dev.cache import ensure

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

Check = Callable[[str], "dict[str, int]"]
EVERYTHING = (f"--values={Path(__file__).parent / 'everything.yaml'}",)


@pytest.fixture(scope="module")
def check(kubectl: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Check:
    """How many of a stream's objects are valid, invalid, in error, skipped."""
    place, folder = ensure("kubeconform"), tmp_path_factory.mktemp("schemas")
    monitors = [yaml.safe_load(path.read_text()) for path in place.glob("monitoring*.yaml")]
    assert len(monitors) == 3
    schemas.write(folder, json.loads(kubectl("get", "--raw", "/openapi/v2")), monitors)
    argv = [str(place / "kubeconform"), "-strict", "-summary", "-output=json"]
    argv += [f"-schema-location={folder}/{schemas.LOCATION}"]

    def run(stream: str) -> dict[str, int]:
        result = subprocess.run(argv, input=stream, capture_output=True, text=True, check=False)
        assert result.stdout, result.stderr
        found: dict[str, int] = json.loads(result.stdout)["summary"]
        return found

    return run


@pytest.fixture(scope="module")
def everything() -> str:
    return chart.render(*EVERYTHING)


def _whole(stream: str) -> dict[str, int]:
    return {"valid": len(chart.documents(stream)), "invalid": 0, "errors": 0, "skipped": 0}


@pytest.mark.parametrize(
    "flags", [*VARIANTS, EVERYTHING], ids=[" ".join(flags) or "as it comes" for flags in VARIANTS] + ["everything"]
)
def test_all_that_the_chart_renders_is_valid(check: Check, flags: tuple[str, ...]) -> None:
    rendered = chart.render(*flags)
    assert check(rendered) == _whole(rendered)


def test_the_crds_and_the_plain_bundle_are_valid(check: Check) -> None:
    files = [*chart.ROOT.glob("crds/tailseal*.yaml"), chart.BUNDLE, chart.BUNDLE.with_name("namespace.yaml")]
    stream = "\n---\n".join(path.read_text() for path in files)
    assert check(stream) == _whole(stream)


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ("terminationGracePeriodSeconds:", "terminationGracePeriod:"),
        ("podMetricsEndpoints:", "endpoints:"),
        ("interval: 15s", "interval: often"),
        ("maxUnavailable: 1", "maxUnavailable: [1]"),
        ("failurePolicy: Fail", "failurePolicy: {}"),
    ],
)
def test_what_is_misspelt_is_found(check: Check, everything: str, found: str, put: str) -> None:
    assert found in everything
    assert check(everything.replace(found, put, 1))["invalid"] == 1
