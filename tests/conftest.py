"""Fixtures that every room's tests share: the real control plane, started once, and a namespace for each test."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

import parts
from node import table
from tailseal.api import unsupported
from tailseal.domain.policy.expressions import conditions
from tailseal.egress import client
from tailseal.tailnet.localapi import SOCKET, LocalApi
from tailseal.workers.exchange import token
from tailseal_dev.cache import BuildError, ensure
from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.postgres import PostgresServer, programs

# No test asserts speed, so neither may hypothesis on a busy machine; nor does luck in drawing examples say anything. A
# gate must not turn red by a new example that has nothing to do with the change; people's own runs go on looking for
# new ones.
settings.register_profile(
    "tailseal",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("tailseal")

# By default httpx gives a server five seconds: an upper bound on time, which no test may have on a busy machine.
for _part in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _part, 60.0)

# Likewise a question to tailscaled, which may take a second, and one to the world, which may take five: a test that is
# about that says how long.
LocalApi.__init__.__defaults__ = (SOCKET, 60.0)
client.PATIENCE = 60.0

# Nor may expressions of policies cost too much because others have the processor: five milliseconds are soon over.
token.thread_time = conditions.stopped


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Divide the suite by parts, whatever way of distribution is asked for."""
    return parts.scheduler(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest parts first where several processes share the run; within a part all stays in order."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: parts.rank(item.nodeid))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what was seen on the real node."""
    table.hear(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was seen there, as a table: the one place that prints it."""
    for line in table.render():
        terminalreporter.write_line(line)


@pytest.fixture
def login_servers_come_later(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if this version could not do `tailnet.loginServer` yet: there is nothing that it cannot."""
    monkeypatch.setattr(unsupported, "_LATER", {"Tailnet.login_server": bool})
    unsupported._places.cache_clear()
    yield
    unsupported._places.cache_clear()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The real control plane with nothing in it, shared by all tests marked `cluster`.

    `.kubeconfig` is an administrator's; tests keep to namespaces of their own and clean up what is cluster-wide.
    """
    _need("kubernetes")
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Callable[..., str]:
    """The real kubectl as administrator: `kubectl("get", "pods", stdin=…, check=…)` answers what it printed."""
    return control_plane.kubectl


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> Path:
    """Our CRDs, installed and served; the folder that they are in."""
    folder = Path(__file__).parents[1] / "crds"
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(folder))
    control_plane.await_crds()
    return folder


@pytest.fixture
def namespace(kubectl: Callable[..., str], request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for one test, deleted after it."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"{stem}-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def helm() -> str:
    """Path of the real helm."""
    return str(_need("helm") / "helm")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, shared by tests that keep to rows of their own."""
    if programs() is None:
        pytest.skip("no PostgreSQL server is installed here: apt-get install --no-install-recommends postgresql")
    with PostgresServer() as server:
        yield server


def _need(helper: str) -> Path:
    try:
        return ensure(helper)
    except BuildError as error:
        pytest.fail(f"the compiled helper {helper!r} is needed and could not be built: {error}", pytrace=False)
