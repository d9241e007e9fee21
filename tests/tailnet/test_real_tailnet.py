"""Who is calling, on a real tailnet: headscale, nodes of people and machines, grants, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tailnet import world
from tailseal.domain import capability
from tailseal.domain.caller import Caller, Known
from tailseal.tailnet import Direct, LocalApi, NobodyError, Outage, Refusal, Serve, UnavailableError
from tailseal_dev import process
from tailseal_dev.tailnet import Node, Tailnet, connections
from tailseal_dev.tailnet.net import Member

pytestmark = pytest.mark.tailnet
WITHIN = 180.0
NOBODYS = "100.64.99.99"
PATIENT = 60.0  # seconds for an answer: these tests run on busy machines
ROOT = Path(__file__).parents[2]


async def asked(resolver: Serve, node: Node | str) -> Caller | Refusal | Outage:
    address = node if isinstance(node, str) else node.addresses[0]
    try:
        return await resolver.caller(None, [(b"X-Forwarded-For", address.encode())])
    except (NobodyError, UnavailableError) as error:
        return error.reason


async def until(ask: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - its answer
    deadline = time.monotonic() + WITHIN
    while not wanted(found := await ask()):
        assert time.monotonic() < deadline, f"still {found}"
        await asyncio.sleep(0.01)
    return found


@pytest.fixture
def idp(tailnet: Tailnet) -> Node:
    return tailnet.nodes["idp"]


@pytest.fixture
def resolver(idp: Node) -> Serve:
    return Serve(LocalApi(str(idp.socket), PATIENT))


@pytest.fixture
def laptop(tailnet: Tailnet, request: pytest.FixtureRequest) -> Node:
    """One more node of bob's, for a test that spoils it."""
    name = request.node.name.split("_")[1] + str(len(tailnet.nodes))
    return tailnet.join(Member(name, "bob"))


async def test_a_node_of_a_person_is_that_person_by_either_address(tailnet: Tailnet, resolver: Serve) -> None:
    alice = tailnet.nodes["alice"]
    both = [await asked(resolver, address) for address in alice.addresses]
    assert both[0] == both[1]
    assert isinstance(both[0], Caller)
    assert both[0].user is not None
    assert (both[0].subject, both[0].user.login, both[0].user.display_name) == (
        "userid:1",
        "alice@example.com",
        "Alice Ä",
    )
    assert (both[0].node.name, both[0].node.tags) == ("alice.tn.test", ())
    granted = capability.read(both[0].capabilities[world.CAPABILITY], both[0].user.login)
    assert granted.allow("login", capability.client("grafana"))
    assert granted.claims(capability.client("grafana")).values == {"groups": ("größe",)}


async def test_a_person_whom_nothing_is_granted_is_known_and_may_do_nothing(tailnet: Tailnet, resolver: Serve) -> None:
    found = await asked(resolver, tailnet.nodes["bob"])
    assert isinstance(found, Caller)
    assert found.subject == "userid:2"
    assert not capability.read(found.capabilities.get(world.CAPABILITY, ())).allow(
        "login", capability.client("grafana")
    )


async def test_a_tagged_node_is_a_machine(tailnet: Tailnet, resolver: Serve) -> None:
    found = await asked(resolver, tailnet.nodes["ci"])
    assert isinstance(found, Caller)
    assert (found.user, found.node.tags) == (None, ("tag:ci",))
    assert found.subject == f"node:{tailnet.headscale.nodes()['ci']['id']}"


async def test_unknown_addresses_are_nobody_and_hold_nobody_up(tailnet: Tailnet, resolver: Serve) -> None:
    strangers = [asked(resolver, f"100.64.99.{number}") for number in range(100)]
    *unknown, known = await asyncio.gather(*strangers, asked(resolver, tailnet.nodes["alice"]))
    assert set(unknown) == {Refusal.UNKNOWN}, "a sleep of 180 ms for each would have taken three times the limit"
    assert isinstance(known, Caller)


async def test_a_storm_of_unknown_connections_holds_up_nobody_else(
    tailnet: Tailnet, idp: Node, resolver: Serve
) -> None:
    direct = Direct(LocalApi(str(idp.socket), 1.0))

    async def stranger(port: int) -> Refusal | Outage:
        with pytest.raises((NobodyError, UnavailableError)) as caught:
            await direct.accepted("127.0.0.1", port)
        reason: Refusal | Outage = caught.value.reason
        return reason

    storm = asyncio.gather(*(stranger(40_000 + number) for number in range(20)))
    while not storm.done():
        assert isinstance(await asked(resolver, tailnet.nodes["alice"]), Caller)
    assert set(await storm) <= {Refusal.UNKNOWN, Outage.SLOW}


async def test_new_connections_are_known_by_who_opened_them_as_soon_as_they_are_accepted(
    tailnet: Tailnet, idp: Node
) -> None:
    resolver, count = Direct(LocalApi(str(idp.socket), WITHIN)), 40
    log, proxy = tailnet.directory / "connections.log", tailnet.nodes["alice"].proxy
    argv = [sys.executable, connections.__file__, "8080", str(proxy), idp.host, str(count)]
    opening = tailnet.space.start(argv, log)
    known: list[str] = []

    async def accept() -> int:
        for port in log.read_text().split()[len(known) :]:
            found = await resolver.accepted("127.0.0.1", int(port))
            known.append("" if found is None else found.subject)
        return len(known)

    try:
        await until(accept, lambda found: found == count)
    finally:
        process.stop(opening)
    assert set(known) == {"userid:1"}


async def test_what_the_policy_file_grants_is_known_soon_and_what_it_withdraws_is_gone(
    tailnet: Tailnet, resolver: Serve
) -> None:
    async def grants() -> capability.Capabilities:
        found = await asked(resolver, tailnet.nodes["alice"])
        assert isinstance(found, Caller)
        return capability.read(found.capabilities.get(world.CAPABILITY, ()))

    try:
        tailnet.set_policy(world.policy({"v": 1, "allow": "everything"}, world.login_to("wiki", note="readers")))
        found = await until(grants, lambda found: found.allow("login", "client/wiki"))
        assert not found.allow("login", "client/grafana")
        assert [one.where for one in found.malformed] == ["allow"]
        tailnet.set_policy(world.policy())
        found = await until(grants, lambda found: not found.allow("login", "client/wiki"))
        assert found == capability.Capabilities()
    finally:
        tailnet.set_policy(world.policy(world.login_to("grafana")))
        await until(grants, lambda found: found.allow("login", "client/grafana"))


async def known_of(resolver: Serve, node: Node) -> Known:
    found: Caller = await until(lambda: asked(resolver, node), lambda found: isinstance(found, Caller))
    return found.known


async def ended(resolver: Serve, known: Known) -> Refusal | None:
    try:
        await resolver.again(known)
    except NobodyError as error:
        return error.reason
    return None


async def test_expired_nodes_are_nobody_although_tailscaled_still_answers_for_them(
    tailnet: Tailnet, idp: Node, resolver: Serve, laptop: Node
) -> None:
    known = await known_of(resolver, laptop)
    tailnet.headscale.expire(laptop.name)
    assert await until(lambda: ended(resolver, known), bool) is Refusal.EXPIRED
    answer = idp.whois(str(known.address))
    assert answer is not None
    assert answer["UserProfile"]["LoginName"] == "bob"


async def test_with_a_clock_that_is_off_an_expiry_comes_too_early_or_as_the_control_server_says(
    tailnet: Tailnet, idp: Node, laptop: Node
) -> None:
    hours = 3600.0
    tailnet.headscale.expire(laptop.name, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + hours)))
    fast, slow = (
        Serve(LocalApi(str(idp.socket), PATIENT), clock=lambda off=off: time.time() + off)  # type: ignore[misc]
        for off in (2 * hours, -2 * hours)
    )
    assert await until(lambda: asked(fast, laptop), lambda found: not isinstance(found, Caller)) is Refusal.EXPIRED
    assert isinstance(await asked(slow, laptop), Caller)
    for resolving in (fast, slow):
        alice = await asked(resolving, tailnet.nodes["alice"])
        assert isinstance(alice, Caller), "whose node never expires"
        assert alice.subject == "userid:1"
    tailnet.headscale.expire(laptop.name)
    assert await until(lambda: asked(slow, laptop), lambda found: not isinstance(found, Caller)) is Refusal.EXPIRED


async def test_deleted_nodes_are_nobody(tailnet: Tailnet, resolver: Serve, laptop: Node) -> None:
    known = await known_of(resolver, laptop)
    tailnet.headscale.delete(laptop.name)
    assert await until(lambda: ended(resolver, known), bool) is Refusal.UNKNOWN


async def test_a_daemon_that_restarts_denies_nobody_and_recovers(tailnet: Tailnet, idp: Node, resolver: Serve) -> None:
    alice = tailnet.nodes["alice"].addresses[0]
    known = ip_address(alice)
    idp.stop()
    assert await asked(resolver, alice) is Outage.UNREACHABLE
    seen: list[Caller | Refusal | Outage] = []
    idp.start()  # not from a thread: programs end with the thread that started them

    async def look() -> Caller | Refusal | Outage:
        seen.append(await asked(resolver, alice))
        return seen[-1]

    found = await until(look, lambda found: isinstance(found, Caller))
    assert known in found.node.addresses
    assert set(seen[:-1]) <= {Outage.NOT_RUNNING}, "never unknown: that would end sessions"


async def test_a_node_that_left_the_tailnet_vouches_for_nobody_although_it_still_answers(
    tailnet: Tailnet, idp: Node
) -> None:
    alice = tailnet.nodes["alice"].addresses[0]
    resolver = Serve(LocalApi(str(idp.socket), PATIENT))
    idp.tailscale("down")
    try:
        assert idp.whois(alice) is not None
        assert await asked(resolver, alice) is Outage.NOT_RUNNING
    finally:
        idp.tailscale("up", "--login-server=http://127.0.0.1:8443", "--accept-dns=false", "--hostname=idp")
    await until(lambda: asked(resolver, alice), lambda found: isinstance(found, Caller))


async def test_two_daemons_with_one_identity_name_nobody_wrongly_and_either_may_end(tailnet: Tailnet) -> None:
    """As in two pods, while one that was deleted has not ended yet and its successor has begun."""
    former, successor = tailnet.stray("spare"), tailnet.stray("successor")
    former.start()
    former.up(tailnet.key(Member("spare", tags=("tag:idp",))))
    copied = shutil.ignore_patterns("*.sock", "*.log")
    shutil.copytree(former.directory, successor.directory, dirs_exist_ok=True, ignore=copied)
    alice = tailnet.nodes["alice"]
    both = [Serve(LocalApi(str(node.socket), PATIENT)) for node in (former, successor)]
    await until(lambda: asked(both[0], alice), lambda found: isinstance(found, Caller))
    successor.start()
    seen: list[list[Caller | Refusal | Outage]] = []

    async def look() -> bool:
        seen.append([await asked(resolver, alice) for resolver in both])
        return isinstance(seen[-1][1], Caller)

    try:
        await until(look, bool)
        former.stop()
        seen.append([seen[0][0], await asked(both[1], alice)])
        callers = {found.subject for pair in seen for found in pair if isinstance(found, Caller)}
        assert callers == {"userid:1"}
        assert not any(isinstance(found, Refusal) for pair in seen for found in pair), "that would end sessions"
        assert successor.addresses[0] in tailnet.headscale.nodes()["spare"]["ip_addresses"]
        assert "successor" not in tailnet.headscale.nodes()
    finally:
        for node in (former, successor):
            node.stop()
            tailnet.nodes.pop(node.name)
        tailnet.headscale.delete("spare")


# ------------------------------------------------------------------------------------------------ the two listeners

FORGED = (
    "Tailscale-User-Login: root@example.com",
    "Tailscale_User_Login: root@example.com",
    f"X-Forwarded-For: {NOBODYS}",
    f"X_Forwarded_For: {NOBODYS}",
    f"Forwarded: for={NOBODYS}",
    f"X-Real-IP: {NOBODYS}",
    "Tailscale-Funnel-Request: ?1",
    'Tailscale-App-Capabilities: {"tailseal.dev/cap/idp": [{"v": 1, "allow": [{"action": ["*"], "resource": ["*"]}]}]}',
    'Tailscale_App_Capabilities: {"tailseal.dev/cap/idp": [{"v": 1, "allow": [{"action": ["*"], "resource": ["*"]}]}]}',
)
FORGING = [part for header in FORGED for part in ("--header", header)]


@pytest.fixture
def listening(tailnet: Tailnet, idp: Node) -> Iterator[Callable[[str, str], None]]:
    """Starts `whoami.py` beside the provider's tailscaled."""
    running = []

    def start(mode: str, place: str) -> None:
        log = tailnet.directory / f"whoami-{mode}.log"
        script = Path(__file__).with_name("whoami.py")
        argv = [sys.executable, str(script), str(idp.socket), mode, place]
        running.append(tailnet.space.start(argv, log, os.environ | {"PYTHONPATH": str(ROOT / "operator")}))
        deadline = time.monotonic() + WITHIN
        while "ready" not in log.read_text():
            assert running[-1].poll() is None, process.tail(log)
            assert time.monotonic() < deadline, process.tail(log)
            time.sleep(0.05)

    yield start
    for server in running:
        process.stop(server)


def told(node: Node, url: str, *arguments: str) -> dict[str, Any]:
    """What whoami says; again where two busy nodes did not find each other in time."""
    deadline = time.monotonic() + WITHIN
    while True:
        result = node.curl(url, *arguments)
        if result.returncode == 0 and result.stdout.startswith("{"):
            answer: dict[str, Any] = json.loads(result.stdout)
            return answer
        assert time.monotonic() < deadline, f"{node.name} got no answer from {url}: {result.stdout}{result.stderr}"
        time.sleep(0.1)


def test_on_a_direct_listener_peers_are_who_they_are_whatever_they_send_and_neighbours_are_nobody(
    tailnet: Tailnet, idp: Node, listening: Callable[[str, str], None]
) -> None:
    listening("direct", "8080")
    url = f"http://{idp.addresses[0]}:8080/"
    for arguments in ((), FORGING):
        found = told(tailnet.nodes["alice"], url, *arguments)
        assert (found["sub"], found["peer"]) == ("userid:1", "127.0.0.1"), (
            "forwarded to loopback: the address says nothing"
        )
        assert told(tailnet.nodes["ci"], url, *arguments)["tags"] == ["tag:ci"]
    neighbour = tailnet.space.run(["curl", "--silent", "--noproxy", "*", *FORGING, "http://127.0.0.1:8080/"])
    assert json.loads(neighbour.stdout) == {"reason": Refusal.UNKNOWN}


def test_behind_serve_peers_are_who_they_are_whatever_they_send(
    tailnet: Tailnet, idp: Node, listening: Callable[[str, str], None]
) -> None:
    place = tailnet.directory / "app.sock"
    listening("serve", str(place))
    idp.tailscale("serve", "--bg", "--http=80", f"unix:{place}")
    try:
        for arguments in ((), FORGING):
            assert told(tailnet.nodes["alice"], f"http://{idp.host}/", *arguments)["sub"] == "userid:1"
            assert told(tailnet.nodes["ci"], f"http://{idp.host}/", *arguments)["tags"] == ["tag:ci"]
            assert told(tailnet.nodes["bob"], f"http://{idp.host}/", *arguments)["sub"] == "userid:2"
    finally:
        idp.tailscale("serve", "reset")
