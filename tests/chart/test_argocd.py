"""The health checks for Argo CD, run through its own Lua engine on test data in the layout of its repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tailseal.cluster import kinds
from tailseal_dev import chart
from tailseal_dev.cache import ensure

CHECKS = chart.ARGOCD / "resource_customizations"
KINDS = {kind.kind for kind in kinds.CUSTOM}


def test_every_kind_has_a_check_and_all_have_the_same() -> None:
    found = {path.parent.name: path.read_text() for path in CHECKS.glob("tailseal.dev/*/health.lua")}
    assert set(found) == KINDS
    assert len(set(found.values())) == 1


def test_the_settings_hold_the_checks() -> None:
    assert (chart.ARGOCD / "argocd-cm.yaml").read_text() == chart.argocd_settings(), "run `make crds`"
    data = yaml.safe_load(chart.argocd_settings())["data"]
    for kind in KINDS:
        key = f"resource.customizations.health.tailseal.dev_{kind}"
        assert data[key] == (CHECKS / "tailseal.dev" / kind / "health.lua").read_text()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_argo_cd_says_of_each_object_what_its_test_data_expects(kind: str) -> None:
    folder = CHECKS / "tailseal.dev" / kind
    tests = yaml.safe_load((folder / "health_test.yaml").read_text())["tests"]
    assert {entry["inputPath"] for entry in tests} == {f"testdata/{path.name}" for path in folder.glob("testdata/*")}
    argv = [str(_engine()), str(folder / "health.lua"), *(str(folder / entry["inputPath"]) for entry in tests)]
    answer = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    said = [yaml.safe_load(line) for line in answer.splitlines()]
    assert said == [entry["healthStatus"] for entry in tests]


def _engine() -> Path:
    """Argo CD's Lua engine; without redis Argo CD cannot run here, so it is not compiled for this alone."""
    if shutil.which("redis-server") is None:
        pytest.skip(
            "Argo CD needs the Debian package redis-server: apt-get install --no-install-recommends redis-server"
        )
    return ensure("argocd") / "argocd-health"
