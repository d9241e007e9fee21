"""What tests of other installations than the session's share: the release told more, or gone, and as it was after."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from node.releases import PRESENT
from node.world import RELEASE, SPACE, SYSTEM, World, until, upgrade
from node.world import helm as run_helm
from tailseal_dev.realnode import config, images
from tailseal_dev.realnode.node import RealNode


@contextlib.contextmanager
def told(world: World, helm: str, *more: str) -> Iterator[None]:
    """The release is told more, and then what it was told before."""
    with _values(world, helm) as values:
        try:
            with world.excused():
                upgrade(world, helm, PRESENT, "--reset-values", values, *more)
            yield
        finally:
            with world.excused():
                upgrade(world, helm, PRESENT, "--reset-values", values)
                until(lambda: len(operators(world)) == 1, "one operator is left", within=120)


@contextlib.contextmanager
def uninstalled(world: World, helm: str) -> Iterator[None]:
    """The release is gone, CRDs and objects are not; then it is there again."""
    path = ("signingkey/corp", SPACE, "--output=jsonpath={.metadata.uid}")
    key = world.kubectl("get", *path)
    with _values(world, helm) as values, world.excused():
        run_helm(world, helm, "uninstall", RELEASE, "--wait", "--timeout=180s")
        until(lambda: not operators(world), "no operator is left", within=120)
        assert world.kubectl("get", *path) == key
        try:
            yield
        finally:
            arguments = (RELEASE, str(PRESENT), values, "--wait", "--timeout=180s")
            run_helm(world, helm, "install", *arguments)
    assert world.kubectl("get", *path) == key


@contextlib.contextmanager
def _values(world: World, helm: str) -> Iterator[str]:
    """The flag that tells the release what it was told before."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(run_helm(world, helm, "get", "values", RELEASE, "--output=json"))
        file.flush()
        yield f"--values={file.name}"


def tag(node: RealNode, name: str) -> None:
    """Our image under another name as well."""
    ctr = ("ctr", f"--address={config.SOCKET}", "--namespace=k8s.io", "images", "tag", "--force")
    node.run(*ctr, images.TAG, name)


def operators(world: World) -> list[str]:
    """The names of the operator's pods."""
    selector = "--selector=app.kubernetes.io/component=operator"
    path = "--output=jsonpath={.items[*].metadata.name}"
    return world.kubectl("get", "pods", f"--namespace={SYSTEM}", selector, path).split()


def at_all(world: World, token: str, audience: str, status: int) -> bool:
    """Whether every replica answers so to who asks for an audience."""
    return world.everywhere(lambda way: world.caller.exchange_at(way, token, audience=audience).status == status)
