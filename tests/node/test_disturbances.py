"""What happens to a cluster in daily operation, while people log in and programs exchange: nothing fails.

Two replicas of both services on PostgreSQL, the identity provider's on a real tailnet. Every login goes over it: at one
node or, where that takes no connection, at the other, as browsers do where one name leads to several nodes. headscale
has no such name, so the caller does it, and it is counted; a connection that was taken and not answered is a failure.
Codes and refresh tokens are redeemed at the Service, where any replica may answer. Each token is verified with a key
set that is kept as long as its header says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from node.load import Load
from node.pair import NAME, Logins, Pair, around
from node.releases import PRESENT, REPOSITORY, change, release
from node.table import FULL, measured
from node.world import RELEASE, SPACE, SYSTEM, World, evict, lets_one_go, until, upgrade
from tailseal_dev.former import WITH_LOGINS
from tailseal_dev.postgres import PostgresServer, programs
from tailseal_dev.realnode import config, images
from tailseal_dev.tailnet import why_not

pytestmark = [
    pytest.mark.node,
    pytest.mark.helm,
    pytest.mark.tailnet,
    pytest.mark.skipif(programs() is None, reason="no PostgreSQL is installed: replicas that share logins need one"),
]

OTHER = f"{REPOSITORY}:next"
"""The same image under another tag: what changes at an upgrade is which image, and the operator's own pod."""


@pytest.fixture(scope="module")
def pair(image: images.Built, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The provider of two replicas, on its tailnet."""
    del image  # this needs a node of our own
    if reason := why_not():
        pytest.skip(reason)
    tailnet, place = around(world, tmp_path_factory.mktemp("pair"))
    with tailnet, PostgresServer(beside=world.node.pid) as database:
        made = Pair(world, tailnet, place, database)
        started = time.monotonic()
        made.apply()
        what = "two replicas on a tailnet and PostgreSQL applied"
        measured(what, "all serve", "logins at both nodes", time.monotonic() - started)
        yield made
        made.delete()


def roll_workers(pair: Pair, _: str) -> None:
    """A change of the pods' template: both services roll."""
    before, value = set(pair.pods()), f"r{time.monotonic_ns()}"
    change = json.dumps({"spec": {"workload": {"labels": {"rolled": value}}}})
    pair.world.kubectl("patch", f"identityprovider/{NAME}", SPACE, "--type=merge", f"--patch={change}")
    _replaced(pair, before, f"rolled={value}")


def replace_operator(pair: Pair, _: str) -> None:
    """Another pod of the operator takes over."""
    for verb in ("restart", "status"):
        pair.world.kubectl("rollout", verb, f"deployment/{RELEASE}-operator", f"--namespace={SYSTEM}")


def upgrade_chart(pair: Pair, helm: str) -> None:
    """Another image: the operator is replaced, and then every worker."""
    before, current = set(pair.pods()), OTHER if _images(pair) == {images.TAG} else images.TAG
    tag = current.rpartition(":")[2]
    upgrade(pair.world, helm, PRESENT, "--reuse-values", f"--set=image.tag={tag}")
    _replaced(pair, before)
    assert _images(pair) == {current}


def evict_workers(pair: Pair, _: str) -> None:
    """Every worker pod, as a drain does: the budget lets only one of each service go at a time."""
    lets_one_go(pair.world, f"{NAME}-sts", f"{NAME}-idp")
    before = pair.pods()
    refused = sum(evict(pair.world, pod) for pod in before)
    _replaced(pair, set(before))
    measured("each worker pod evicted as soon as its budget lets it go", f"refused {refused} times until then")


DISTURBANCES: Mapping[str, Callable[[Pair, str], None]] = {
    "rolling update of all workers": roll_workers,
    "rolling update of the operator": replace_operator,
    "rolling update of the chart, all images": upgrade_chart,
    "each worker pod evicted under its budget": evict_workers,
}
SHORT = ("rolling update of the chart, all images", "each worker pod evicted under its budget")
"""The first also rolls the operator and all workers."""


@pytest.fixture(scope="module")
def other(world: World) -> None:
    """Our image under the other tag as well."""
    ctr = ("ctr", f"--address={config.SOCKET}", "--namespace=k8s.io", "images", "tag", "--force")
    world.node.run(*ctr, images.TAG, OTHER)


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("what", DISTURBANCES if FULL else SHORT)
def test_no_login_and_no_exchange_fails_during_a(pair: Pair, helm: str, what: str) -> None:
    rotated = FULL or what == SHORT[0]
    pair.asked = pair.elsewhere = 0
    with pair.load() as load:
        started, former = time.monotonic(), pair.signer()
        if rotated:
            pair.rotate()
        DISTURBANCES[what](pair, helm)
        if rotated:
            until(lambda: pair.signer() != former, "the new key signs", within=180)
        seconds = time.monotonic() - started
    meanwhile = ", a key rotated meanwhile" if rotated else ""
    measured(what + meanwhile, load.seen(), "0 failed, every token verifies", seconds)
    moved = f"{pair.elsewhere} of {pair.asked} requests over the tailnet; {load.counts['logins'].gap:.1f} s at most"
    step = "the same: sent to the other node by the caller; from one login to the next"
    measured(step, moved, "those whose node takes no connection")
    assert load.failed == []
    pair.ready()


@pytest.mark.skipif(not FULL, reason="an image more to build, and every pod rolled twice: `make e2e` does it")
def test_no_login_and_no_exchange_fails_when_an_earlier_build_is_installed_and_upgraded(
    pair: Pair, helm: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The former release could not log anybody in: this is between two builds that can."""
    chart = release(pair.world, WITH_LOGINS, "earlier", tmp_path_factory.mktemp("earlier"))
    with pair.world.excused():
        _changes(pair, helm, f"chart and all images put back to {WITH_LOGINS}", chart, f"{REPOSITORY}:earlier")
        _changes(pair, helm, f"chart and all images upgraded from {WITH_LOGINS}", PRESENT, images.TAG)


@pytest.mark.skipif(not FULL, reason="how long a file's replica is away is measured by `make e2e`")
def test_with_a_file_and_one_replica_logins_pause_while_it_is_replaced(pair: Pair) -> None:
    """The last here: what the database held is left behind."""
    before = set(pair.pods("app.kubernetes.io/component=idp"))
    change = json.dumps({"spec": {"idp": {"replicas": 1}, "storage": {"type": "SQLite", "postgres": None}}})
    pair.world.kubectl("patch", f"identityprovider/{NAME}", SPACE, "--type=merge", f"--patch={change}")
    pair.nodes = pair.nodes[:1]
    until(lambda: not before & set(pair.pods()), "only the one with the file is left", within=180)
    until(pair.serves, "logins go on in the file", within=120)
    with Load({"logins": Logins(pair, "alice")}) as load:
        roll_workers(pair, "")
        until(pair.serves, "logins go on", within=120)
        asked = load.counts["logins"].asked
        until(lambda: load.counts["logins"].asked > asked + 1, "one has gone well since")
    step = "all workers rolled with one replica and a file (SQLite); from one login to the next"
    measured(step, load.seen(), "a gap", load.counts["logins"].gap)


def _changes(pair: Pair, helm: str, what: str, chart: Path, image: str) -> None:
    """Install a chart and an image while people log in: nothing fails."""
    with pair.load() as load:
        started, before = time.monotonic(), set(pair.pods())
        change(pair.world, helm, chart, image)
        _replaced(pair, before)
        seconds = time.monotonic() - started
    assert _images(pair) == {image}
    measured(what, load.seen(), "0 failed, every token verifies", seconds)
    assert load.failed == []
    pair.ready()


def _replaced(pair: Pair, before: set[str], *selectors: str) -> None:
    """Wait until every pod is another, all are there, and all are ready."""
    wanted = 2 + len(pair.nodes)

    def new() -> bool:
        return not set(pair.pods()) & before and len(pair.pods(*selectors)) == wanted

    until(new, "every pod is another", within=300)
    named = (f"pod/{pod}" for pod in pair.pods())
    pair.world.kubectl("wait", *named, SPACE, "--for=condition=Ready", "--timeout=180s")


def _images(pair: Pair) -> set[str]:
    path = "--output=jsonpath={range .items[*]}{.spec.containers[0].image} {end}"
    selector = f"--selector=tailseal.dev/identity-provider={NAME}"
    return set(pair.world.kubectl("get", "pods", SPACE, selector, path).split())
