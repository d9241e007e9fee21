"""One real node for all tests of this folder: our image built from the last commit, the chart installed by helm.

With TAILSEAL_CLUSTER=current it is the cluster of the current context, which pulls TAILSEAL_IMAGE; what only a node of
our own can show is skipped then.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from node import mesh, table
from node.inside import TEAM, Party
from node.world import PROVIDERS, RELEASE, SYSTEM, World, told, until
from tailseal_dev.cache import BuildError
from tailseal_dev.realnode import images
from tailseal_dev.realnode.current import CurrentCluster
from tailseal_dev.realnode.node import RealNode
from tailseal_dev.realnode.packages import why_not
from tailseal_dev.tailnet import Tailnet
from tailseal_dev.tailnet import why_not as no_tailnet

ROOT = Path(__file__).parents[2]
INSTALL_WITHIN = "120s"
ELSEWHERE = os.environ.get("TAILSEAL_CLUSTER", "local") != "local"
IMAGE = os.environ.get("TAILSEAL_IMAGE", images.TAG) if ELSEWHERE else images.TAG
MADE = (SYSTEM, PROVIDERS, TEAM)
"""Namespaces; on somebody's cluster none of them may be there before, and none is afterwards."""

ONLY_OURS = {"image", "former", "net"}
"""Fixtures that build images, load them into a node, or step into it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, on somebody's cluster, what takes a node of our own."""
    for item in items if ELSEWHERE else ():
        ours = item.path.name == "test_with_a_token.py" or ONLY_OURS & set(getattr(item, "fixturenames", ()))
        if item.path.parent == Path(__file__).parent and ours:
            item.add_marker(pytest.mark.skip(reason="images are loaded, which takes a node of our own"))


@pytest.fixture(scope="session")
def image() -> images.Built:
    """Our image of the last commit."""
    if reason := why_not():
        pytest.skip(reason)
    return images.product()


@pytest.fixture(scope="session")
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealNode | CurrentCluster]:
    """The node, with our image loaded and nothing installed."""
    if ELSEWHERE:
        with CurrentCluster(tmp_path_factory.mktemp("current"), IMAGE, MADE, pytest.skip) as current:
            yield current
        return
    image: images.Built = request.getfixturevalue("image")
    with RealNode(tmp_path_factory.mktemp("node"), [image.archive]) as node:
        yield node


@pytest.fixture(scope="session")
def tidied(node: RealNode, helm: str) -> Iterator[None]:
    """Leaves somebody's cluster as it was found; a node of our own is gone in a moment anyhow."""
    yield
    if ELSEWHERE:
        environment = os.environ | {"KUBECONFIG": str(node.plane.kubeconfig)}
        subprocess.run([helm, "uninstall", RELEASE, f"--namespace={SYSTEM}", "--wait"], env=environment, check=False)
        node.plane.kubectl("delete", "namespace", *MADE, "--ignore-not-found")
        node.plane.kubectl("delete", "--kustomize", str(ROOT / "crds"), "--ignore-not-found")


@pytest.fixture(scope="session")
def world(node: RealNode, helm: str, tidied: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The operator installed in namespaced mode under restricted Pod Security, a provider Ready, a CI job's token."""
    for namespace in (SYSTEM, PROVIDERS):
        node.plane.kubectl("create", "namespace", namespace)
        node.plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    argv = [helm, "install", RELEASE, str(ROOT / "charts" / "tailseal"), f"--namespace={SYSTEM}", *told(IMAGE)]
    environment = os.environ | {"KUBECONFIG": str(node.plane.kubeconfig)}
    argv += ["--wait", f"--timeout={INSTALL_WITHIN}"]
    result = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pods = node.plane.kubectl("get", "pods,events", f"--namespace={SYSTEM}")
        said = node.plane.kubectl("logs", "deployment/tailseal-operator", f"--namespace={SYSTEM}", check=False)
        pytest.fail(f"helm install: {result.stderr}\n{pods}\n{said}", pytrace=False)
    with World(node, tmp_path_factory.mktemp("world")) as world:
        world.provide()
        yield world


@pytest.fixture(scope="session")
def net(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tailnet, mesh.Control]]:
    """A tailnet around the node."""
    if reason := no_tailnet():
        pytest.skip(reason)
    try:
        tailnet, place = mesh.around(world, tmp_path_factory.mktemp("tailnet"))
        with tailnet:
            yield tailnet, place
    except BuildError as error:
        pytest.fail(
            f"headscale, tailscaled and containerboot are needed and could not be built: {error}", pytrace=False
        )


@pytest.fixture
def job(world: World) -> Iterator[str]:
    """The token of a CI job that every replica trusts while the test runs."""
    token = world.job()
    world.trust()
    until(lambda: world.granted(token), "every replica grants")
    yield token
    world.withdraw()
    until(lambda: world.refused(token), "every replica refuses")


@pytest.fixture(scope="session")
def party(world: World) -> Iterator[Party]:
    """A pod of a team, with tokens for the providers that it knows."""
    party = Party(world, IMAGE, {"corp": world.issuer, "login": mesh.issuer("login")})
    party.begin()
    yield party
    party.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was seen goes with the report: in a run of several processes another one prints the table."""
    report = yield
    table.tell(report)
    return report
