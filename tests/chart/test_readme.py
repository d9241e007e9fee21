"""README's cluster, step by step as it is printed, on an API server of its own: what a new user types first works."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from chart.installed import operator_as_deployed, refused
from fakes.pages import Reader, blocks, shown
from tailseal_dev import process
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError
from tailseal_dev.localnode.start import running

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

SPACE = "--namespace=identity"


@pytest.fixture
def reader(plane: ControlPlane, tmp_path: Path) -> Reader:
    return Reader(plane, tmp_path / "clone", {"YOUR/": "registry.corp.example/"})


def test_readme_s_commands_install_an_operator_and_its_objects_become_ready(
    reader: Reader, plane: ControlPlane, tmp_path: Path
) -> None:
    (commands,) = blocks("README.md", "In a cluster", "console")
    (objects,) = blocks("README.md", "In a cluster", "yaml")
    printed = reader.follows(commands)[1]
    noted = printed[printed.index("  kubectl apply") : printed.index("  kubectl wait")]
    made = reader.types(textwrap.dedent(noted).replace("kubectl apply", "kubectl apply --dry-run=server"))
    assert made.count(" created (server dry run)") == 2, "what helm's notes say"
    with (
        running(plane.kubeconfig, tmp_path / "node"),
        operator_as_deployed(plane, tmp_path / "operator.log") as log,
    ):
        reader.types("kubectl apply -f -", stdin=objects)
        try:
            for name in ("signingkey/corp", "identityprovider/corp", "trustpolicy/deploy"):
                plane.kubectl("wait", name, "--for=condition=Ready", SPACE, "--timeout=180s")
        except ControlPlaneError as error:
            said = plane.kubectl("get", "tailseal,pods,events", SPACE, "--output=wide", check=False)
            pytest.fail(f"{error}\n{said}\n{process.tail(log, 40)}", pytrace=False)
        for block in blocks("docs/installation.md", "From inside the cluster", "console"):
            for command, output in shown(block):
                assert reader.types(command) == output
    assert refused(plane, log) == []


def test_the_page_about_installation_installs_as_readme_does() -> None:
    """So the one that is run stands for both."""
    page, readme = (
        [command.partition("  #")[0] for command, _ in shown(blocks(name, heading, "console")[0])]
        for name, heading in (
            ("docs/installation.md", "Installation, and what it says when something is wrong"),
            ("README.md", "In a cluster"),
        )
    )
    assert page == readme[: len(page)]
    assert len(page) == 2
