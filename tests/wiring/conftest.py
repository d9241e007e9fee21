"""A control plane of its own for the wiring: it starts without our kinds, and its API server goes away at times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tailseal_dev.controlplane import ControlPlane

CRDS = Path(__file__).parents[2] / "crds"
USER = "operator-under-test"


@pytest.fixture(scope="session")
def bare_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Without the CRDs, until `plane` installs them."""
    with ControlPlane(tmp_path_factory.mktemp("wiring")) as made:
        yield made


@pytest.fixture(scope="session")
def plane(bare_plane: ControlPlane) -> ControlPlane:
    """With the CRDs."""
    bare_plane.kubectl("apply", "--server-side", "-k", str(CRDS))
    bare_plane.await_crds()
    return bare_plane


@pytest.fixture(scope="session")
def kubeconfig(bare_plane: ControlPlane) -> str:
    """The operator's own account, so that its writes can be told from others'."""
    return str(bare_plane.kubeconfig_for(USER, ["system:masters"]))
