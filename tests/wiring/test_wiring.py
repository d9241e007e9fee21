"""The operator's event source on a real API server: complete before it acts, blinded by nobody, silent when idle."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tailseal import wiring
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.machine import Operator, streams
from tailseal.reconcile.context import Context, Done, OperatorSettings
from tailseal.runtime.resync import Feed, Timing
from tailseal.runtime.settings import Settings
from tailseal.runtime.store import Store
from tailseal_dev.controlplane import ControlPlane
from wiring.waiting import eventually, hung_up

pytestmark = pytest.mark.cluster
USER = "operator-under-test"
MAIN = "from tailseal.cli.main import main; main()"


class Seen:
    """Controllers that only note what they were called for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.primed_at_first_call: bool | None = None
        self.known_at_first_call = 0
        self.operator: Operator | None = None

    def controllers(self) -> dict[str, Any]:
        names = ("SigningKey", "IdentityProvider", "TrustPolicy", "Bundle", "Propagation")
        return {name: self._controller(name) for name in names}

    def _controller(self, controller: str) -> Any:  # noqa: ANN401 - a Reconcile
        async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
            if self.primed_at_first_call is None:
                self.primed_at_first_call = self.store.primed
                self.known_at_first_call = self.store.count(kinds.TRUST_POLICY)
            self.calls.append((controller, namespace, name))
            return Done()

        return reconcile

    @property
    def store(self) -> Store:
        assert self.operator is not None
        return self.operator.store

    def policy(self, namespace: str, name: str) -> Object | None:
        return self.store.get(Ref(kinds.TRUST_POLICY, namespace, name))


@asynccontextmanager
async def running(kubeconfig: str, **settings: Any) -> AsyncIterator[Seen]:  # noqa: ANN401 - of Settings
    seen, stop = Seen(), asyncio.Event()
    given = Settings(kubeconfig=kubeconfig, health_port=0, timing=Timing(quiet=0.3, longest=2.0), **settings)

    def started(operator: Operator, _port: int) -> None:
        seen.operator = operator

    task = asyncio.create_task(
        wiring.run(given, OperatorSettings(), stop=stop, started=started, controllers=seen.controllers())
    )
    try:
        await eventually(lambda: seen.operator or task.done())
        yield seen
    finally:
        stop.set()
        await task
        await hung_up()


def policy(name: str, namespace: str, provider: str = "corp", **metadata: Any) -> str:  # noqa: ANN401
    spec = {
        "identityProviderRef": {"name": provider},
        "from": {
            "oidc": {
                "issuer": "https://ci.example",
                "audiences": ["https://idp.example"],
                "subject": {"exact": "job"},
            }
        },
        "grants": [{"name": "api", "jwt": {"audiences": ["https://api.example"]}}],
    }
    names = {"name": name, "namespace": namespace, **metadata}
    return json.dumps({"apiVersion": "tailseal.dev/v1alpha1", "kind": "TrustPolicy", "metadata": names, "spec": spec})


@pytest.fixture
def namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    name = f"w{zlib.crc32(request.node.name.encode())}"
    plane.kubectl("create", "namespace", name)
    return name


def test_without_the_crds_the_operator_ends_with_one_clear_line(bare_plane: ControlPlane, kubeconfig: str) -> None:
    if "tailseal" in bare_plane.kubectl("get", "crd", "-o", "name"):
        pytest.fail("this test must run before the CRDs are installed")
    ended = subprocess.run(
        [sys.executable, "-c", MAIN, "operator", f"--kubeconfig={kubeconfig}", "--health=127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 3
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert "trustpolicies.tailseal.dev" in line
    assert "install the CRDs" in line


async def test_a_user_id_without_a_name_will_do(
    plane: ControlPlane, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("getpass.getuser", nobody)
    async with running(kubeconfig) as seen:
        await eventually(lambda: seen.store.primed)


async def test_everything_is_known_before_any_controller_runs(
    plane: ControlPlane, kubeconfig: str, namespace: str
) -> None:
    for index in range(20):
        plane.kubectl("apply", "-f", "-", stdin=policy(f"p{index:02d}", namespace))
    async with running(kubeconfig) as seen:
        await eventually(lambda: len([call for call in seen.calls if call[:2] == ("TrustPolicy", namespace)]) >= 20)
        assert seen.primed_at_first_call
        assert seen.known_at_first_call >= 20
        assert ("Bundle", namespace, "corp") in seen.calls


async def test_changes_and_deletions_wake_their_controllers(
    plane: ControlPlane, kubeconfig: str, namespace: str
) -> None:
    async with running(kubeconfig, namespaces=(namespace,)) as seen:
        await asyncio.to_thread(plane.kubectl, "apply", "-f", "-", stdin=policy("one", namespace))
        await eventually(lambda: ("TrustPolicy", namespace, "one") in seen.calls)
        seen.calls.clear()
        await asyncio.to_thread(plane.kubectl, "delete", "trustpolicy", "-n", namespace, "one")
        await eventually(lambda: ("Bundle", namespace, "corp") in seen.calls)
        assert seen.policy(namespace, "one") is None


async def test_a_poisoned_annotation_does_not_blind_us(plane: ControlPlane, kubeconfig: str, namespace: str) -> None:
    poison = {"kopf.zalando.org/last-handled-configuration": "not json", "kopf.zalando.org/x": "{"}
    async with running(kubeconfig) as seen:
        await asyncio.to_thread(plane.kubectl, "apply", "-f", "-", stdin=policy("one", namespace, annotations=poison))
        await eventually(lambda: seen.policy(namespace, "one"))
        seen.calls.clear()
        patch = '{"spec":{"grants":[{"name":"narrow","jwt":{"audiences":["https://less.example"]}}]}}'
        await asyncio.to_thread(
            plane.kubectl, "patch", "trustpolicy", "-n", namespace, "one", "--type=merge", "-p", patch
        )
        await eventually(lambda: (seen.policy(namespace, "one") or {})["spec"]["grants"][0]["name"] == "narrow")
        await eventually(lambda: ("Bundle", namespace, "corp") in seen.calls)
        seen.calls.clear()
        await asyncio.to_thread(plane.kubectl, "delete", "trustpolicy", "-n", namespace, "one")
        await eventually(lambda: ("Bundle", namespace, "corp") in seen.calls)
        assert seen.policy(namespace, "one") is None


async def test_only_secrets_that_are_ours_or_opened_to_us_are_seen(
    plane: ControlPlane, kubeconfig: str, namespace: str
) -> None:
    def secret(name: str, **labels: str) -> str:
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})

    ours = {"app.kubernetes.io/managed-by": "tailseal"}
    allowed = {"tailseal.dev/allow": "true"}
    async with running(kubeconfig) as seen:
        await eventually(lambda: seen.store.primed)
        for name, labels in (("private", {}), ("ours", ours), ("opened", allowed)):
            await asyncio.to_thread(plane.kubectl, "apply", "-f", "-", stdin=secret(name, **labels))

        def names() -> set[str]:
            return {obj["metadata"]["name"] for obj in seen.store.select(kinds.SECRET, namespace)}

        await eventually(lambda: names() == {"ours", "opened"})
        await asyncio.to_thread(plane.kubectl, "label", "secret", "-n", namespace, "opened", "tailseal.dev/allow-")
        await eventually(lambda: names() == {"ours"})


async def test_keys_are_looked_for_in_provider_namespaces_only_and_policies_everywhere(
    plane: ControlPlane, kubeconfig: str, namespace: str
) -> None:
    plane.kubectl("create", "namespace", f"{namespace}-tenant")
    async with running(kubeconfig, provider_namespaces=(namespace,)) as seen:
        await eventually(lambda: seen.operator and seen.store.primed)
        for where in (f"{namespace}-tenant", namespace):
            key = {"apiVersion": "tailseal.dev/v1alpha1", "kind": "SigningKey", "spec": {}}
            manifest = json.dumps(key | {"metadata": {"name": "corp", "namespace": where}})
            plane.kubectl("apply", "-f", "-", stdin=manifest)
            plane.kubectl("apply", "-f", "-", stdin=policy("deploy", where))
        await eventually(lambda: all(seen.policy(where, "deploy") for where in (namespace, f"{namespace}-tenant")))
        await eventually(lambda: seen.store.get(Ref(kinds.SIGNING_KEY, namespace, "corp")))
    assert seen.store.get(Ref(kinds.SIGNING_KEY, f"{namespace}-tenant", "corp")) is None


@pytest.mark.parametrize(
    ("policies", "providers", "expected"),
    [
        ((), (), {"trustpolicies": {""}, "secrets": {""}, "identityproviders": {""}}),
        (("a",), (), {"trustpolicies": {"a"}, "secrets": {"a"}, "identityproviders": {"a"}}),
        ((), ("p",), {"trustpolicies": {""}, "secrets": {"p"}, "identityproviders": {"p"}}),
        (("a", "b"), ("p",), {"trustpolicies": {"a", "b", "p"}, "secrets": {"p"}, "identityproviders": {"p"}}),
    ],
    ids=["everywhere", "everything in one", "policies everywhere", "both named"],
)
def test_what_is_watched_where(
    policies: tuple[str, ...], providers: tuple[str, ...], expected: dict[str, set[str]]
) -> None:
    watched: dict[str, set[str]] = {}
    for group in streams(policies, providers):
        assert len({frozenset(s.namespace for s in group if s.kind == source.kind) for source in group}) == 1
        for source in group:
            watched.setdefault(source.kind.plural, set()).add(source.namespace)
    assert {kind: watched[kind] for kind in expected} == expected


def test_secrets_of_clients_are_watched_where_they_are_besides() -> None:
    sources = [source for group in streams((), ("p",), ("c",)) for source in group if source.namespace == "c"]
    assert {(source.kind, source.selector) for source in sources} == {
        (kinds.SECRET, "app.kubernetes.io/managed-by=tailseal"),
        (kinds.SECRET, "tailseal.dev/allow=true"),
    }


def test_namespaces_are_watched_with_policies_of_all_of_them_and_otherwise_not_at_all() -> None:
    def watched(*given: tuple[str, ...], may: bool) -> list[tuple[str, int]]:
        groups = streams(*given, reads_namespaces=may)
        return [(s.namespace, n) for n, group in enumerate(groups) for s in group if s.kind == kinds.NAMESPACE]

    assert watched((), may=True) == [("", 0)]
    assert watched((), ("p",), may=True) == [("", 0)]
    assert watched(("a",), may=True) == []
    assert watched((), may=False) == []


async def test_labels_of_namespaces_are_followed(plane: ControlPlane, kubeconfig: str, namespace: str) -> None:
    async with running(kubeconfig) as seen:
        await eventually(lambda: seen.operator and seen.store.primed and namespace in (seen.store.namespaces() or {}))

        def labels() -> str | None:
            return (seen.store.namespaces() or {})[namespace].get("tailseal")

        assert labels() is None
        plane.kubectl("label", "namespace", namespace, "tailseal=yes")
        await eventually(lambda: labels() == "yes")
        plane.kubectl("label", "namespace", namespace, "tailseal-")
        await eventually(lambda: labels() is None)


async def test_an_operator_for_some_namespaces_knows_that_it_knows_no_labels(
    plane: ControlPlane, kubeconfig: str, namespace: str
) -> None:
    async with running(kubeconfig, namespaces=(namespace,)) as seen:
        await eventually(lambda: seen.operator and seen.store.primed)
        assert seen.store.namespaces() is None


async def test_an_operator_that_may_not_read_namespaces_starts_without_them(plane: ControlPlane) -> None:
    """As under an older chart, or where somebody took the right away."""
    kinds_of_ours = ("trustpolicies", "oauthclients", "signingkeys", "identityproviders")
    owned = {kind.group: [] for kind in (*kinds.OWNED, kinds.POD)}
    for kind in (*kinds.OWNED, kinds.POD):
        owned[kind.group].append(kind.plural)
    flags = [f"--resource={','.join(f'{name}.tailseal.dev' for name in kinds_of_ours)}"]
    flags += [
        f"--resource={','.join(f'{name}.{group}' if group else name for name in names)}"
        for group, names in owned.items()
    ]
    plane.kubectl("create", "clusterrole", "narrow", "--verb=get,list,watch,patch", *flags)
    plane.kubectl("create", "clusterrolebinding", "narrow", "--clusterrole=narrow", "--user=narrow")
    async with running(str(plane.kubeconfig_for("narrow", []))) as seen:
        await eventually(lambda: seen.operator and seen.store.primed)
        assert seen.store.namespaces() is None


async def test_deletions_that_were_never_told_are_found_after_an_outage(
    plane: ControlPlane, kubeconfig: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even of the last object: what kopf lists after the outage is empty, and it tells us nothing of that."""
    looking = list[Feed]()

    async def looks(feed: Feed) -> None:
        looking.append(feed)
        try:
            await look(feed)
        finally:
            looking.remove(feed)

    look = Feed.resync
    monkeypatch.setattr(Feed, "resync", looks)
    plane.kubectl("apply", "-f", "-", stdin=policy("lost", namespace))
    async with running(kubeconfig, namespaces=(namespace,)) as seen:
        await eventually(lambda: seen.policy(namespace, "lost"))
        assert seen.operator is not None
        feed = seen.operator.feed
        see, resync = feed.see, feed.resync

        async def blind() -> None:
            feed._relisted = None

        feed.resync = blind  # type: ignore[method-assign] # the look that follows every start may still be due
        await eventually(lambda: not looking)  # or be going on
        feed.see = lambda change, obj: None if change == "DELETED" else see(change, obj)  # type: ignore[method-assign]
        await asyncio.to_thread(plane.kubectl, "delete", "trustpolicy", "-n", namespace, "lost")
        await asyncio.sleep(0.5)
        assert seen.policy(namespace, "lost") is not None
        plane.stop_api_server()
        feed.resync = resync  # type: ignore[method-assign]
        await asyncio.sleep(3)
        plane.start_api_server()  # not in a thread: the server would end with it
        seen.calls.clear()
        await eventually(lambda: seen.policy(namespace, "lost") is None)
        await eventually(lambda: ("Bundle", namespace, "corp") in seen.calls)
        await asyncio.to_thread(plane.kubectl, "apply", "-f", "-", stdin=policy("after", namespace))
        await eventually(lambda: seen.policy(namespace, "after"))


async def test_an_idle_operator_writes_nothing(plane: ControlPlane, kubeconfig: str, namespace: str) -> None:
    plane.kubectl("apply", "-f", "-", stdin=policy("one", namespace))
    before = len(plane.writes_by(USER))
    async with running(kubeconfig) as seen:
        await eventually(lambda: seen.policy(namespace, "one"))
        assert seen.operator is not None
        await seen.operator.feed.resync()
        await asyncio.sleep(2)
    assert plane.writes_by(USER)[before:] == []


async def test_one_operator_leads_and_the_next_takes_over(plane: ControlPlane, kubeconfig: str, namespace: str) -> None:
    def settings(identity: str) -> dict[str, Any]:
        return {"leader_elect": True, "lease_namespace": namespace, "identity": identity}

    async with AsyncExitStack() as later:
        async with running(kubeconfig, **settings("first")) as first:
            await eventually(lambda: first.store.primed)
            second = await later.enter_async_context(running(kubeconfig, **settings("second")))
            await asyncio.sleep(3)
            assert second.operator is not None
            assert second.operator.standby
            assert not second.store.primed
            assert second.operator.checks().unready() == ""
            assert second.operator.checks().sick() == ""
        await eventually(lambda: second.store.primed)
        assert not second.operator.standby


async def test_one_that_waits_for_the_lead_ends_when_it_is_told_to(
    plane: ControlPlane, kubeconfig: str, namespace: str
) -> None:
    shared = {"leader_elect": True, "lease_namespace": namespace}
    async with running(kubeconfig, identity="first", **shared) as first:
        await eventually(lambda: first.store.primed)
        async with asyncio.timeout(120), running(kubeconfig, identity="second", **shared) as second:
            pass
        assert second.operator is not None
        assert second.operator.standby


async def test_a_leader_that_lists_for_long_shows_that_it_lives(
    plane: ControlPlane, kubeconfig: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would lose the lead after half a minute, and so would whoever begins anew."""

    async def prime(operator: Operator) -> None:
        oldest = operator.heartbeat._at
        await eventually(lambda: operator.heartbeat._at > oldest)
        await primed(operator)

    primed = Operator.prime
    monkeypatch.setattr(Operator, "prime", prime)
    async with running(kubeconfig, leader_elect=True, lease_namespace=namespace, identity="only") as seen:
        await eventually(lambda: seen.store.primed)
