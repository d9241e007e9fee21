"""Who is calling, by listener: whom tailscaled is asked about and how, and that nobody is taken for somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.localapi import FakeLocalApi, recorded, standing_in
from fakes.virtualtime import virtual
from tailseal.domain.caller import Caller
from tailseal.tailnet import (
    Direct,
    Elsewhere,
    LocalApi,
    NobodyError,
    Outage,
    Refusal,
    Serve,
    Static,
    UnavailableError,
    resolve,
)
from tailseal.tailnet.static import MisplacedError
from tailseal.tailnet.whois import caller as read_caller

ALICE = recorded("user")["Node"]["Addresses"][0].split("/")[0]
CI = recorded("tagged")["Node"]["Addresses"][0].split("/")[0]
NOW = 1_795_240_000.0


def from_(address: str) -> list[tuple[bytes, bytes]]:
    return [(b"X-Forwarded-For", address.encode()), (b"Tailscale-User-Login", b"root@example.com")]


def serve(tailscaled: FakeLocalApi, **more: Any) -> Serve:  # noqa: ANN401 - its arguments
    return Serve(LocalApi(str(tailscaled.path)), clock=lambda: NOW, **more)


def direct(tailscaled: FakeLocalApi, within: float = 60.0, *, interface: bool = False) -> Direct:
    return Direct(LocalApi(str(tailscaled.path), within), clock=lambda: NOW, interface=interface)


def questions(tailscaled: FakeLocalApi) -> list[str]:
    return [asked.removeprefix("/localapi/v0/") for asked in tailscaled.asked if "whois" in asked]


async def refused(asking: Coroutine[Any, Any, object]) -> Refusal | Outage:
    with pytest.raises((NobodyError, UnavailableError)) as caught:
        await asking
    reason: Refusal | Outage = caught.value.reason
    return reason


async def test_behind_serve_each_request_is_its_own_caller_whatever_the_connection(tailscaled: FakeLocalApi) -> None:
    tailscaled.knows("user")
    tailscaled.knows("tagged")
    resolver = serve(tailscaled)
    connection = await resolver.accepted("", 0)
    assert (await resolver.caller(connection, from_(ALICE))).subject == "userid:1"
    assert (await resolver.caller(connection, from_(CI))).subject.startswith("node:")
    assert questions(tailscaled) == [f"whois?addr={ALICE}", f"whois?addr={CI}"], "by address, never with a port"


async def test_on_a_direct_listener_the_connection_is_the_caller_and_no_header_counts(tailscaled: FakeLocalApi) -> None:
    tailscaled.knows("user", "127.0.0.1:40000", ALICE)
    resolver = direct(tailscaled)
    connection = await resolver.accepted("127.0.0.1", 40000)
    for headers in ([], from_(CI), [*from_(ALICE), (b"Tailscale-Funnel-Request", b"?1")]):
        assert (await resolver.caller(connection, headers)).subject == "userid:1"
    with_port, *by_address = questions(tailscaled)
    assert with_port == "whois?addr=127.0.0.1%3A40000&proto=tcp", "once a connection"
    assert by_address == [f"whois?addr={ALICE}"] * 3


async def test_with_an_interface_of_its_own_the_peers_address_is_asked_about_without_its_port(
    tailscaled: FakeLocalApi,
) -> None:
    tailscaled.knows("user")
    for host in (ALICE, f"::ffff:{ALICE}"):
        found = await direct(tailscaled, interface=True).accepted(host, 40000)
        assert found is not None
        assert found.subject == "userid:1"
    assert questions(tailscaled) == [f"whois?addr={ALICE}"] * 2


@pytest.mark.parametrize("host", ["10.244.0.7", "192.168.1.4", "203.0.113.7", "fd00::7", "fe80::1%eth0", "", "alice"])
async def test_nobody_is_asked_about_pods_networks_and_the_internet(tailscaled: FakeLocalApi, host: str) -> None:
    resolver = direct(tailscaled)
    assert await refused(resolver.accepted(host, 40000)) is Refusal.OUTSIDE
    assert await refused(direct(tailscaled, interface=True).accepted(host, 40000)) is Refusal.OUTSIDE
    assert await refused(serve(tailscaled).caller(None, from_(host))) is Refusal.FORWARDED
    assert await refused(resolver.caller(None, from_(ALICE))) is Refusal.OUTSIDE
    assert tailscaled.asked == []


async def test_a_pod_with_an_address_like_a_nodes_is_nobody_on_loopbacks_listener(tailscaled: FakeLocalApi) -> None:
    tailscaled.knows("user")
    assert await refused(direct(tailscaled).accepted(ALICE, 40000)) is Refusal.OUTSIDE
    assert await refused(direct(tailscaled, interface=True).accepted("127.0.0.1", 40000)) is Refusal.OUTSIDE
    assert tailscaled.asked == []


async def test_an_unknown_connection_is_nobody(tailscaled: FakeLocalApi) -> None:
    assert await refused(direct(tailscaled).accepted("127.0.0.1", 40000)) is Refusal.UNKNOWN
    assert await refused(direct(tailscaled).accepted("::1", 40000)) is Refusal.UNKNOWN
    assert questions(tailscaled)[1] == "whois?addr=%5B%3A%3A1%5D%3A40000&proto=tcp"


async def test_an_unknown_address_is_nobody(tailscaled: FakeLocalApi) -> None:
    assert await refused(serve(tailscaled).caller(None, from_(ALICE))) is Refusal.UNKNOWN


@virtual
async def test_connections_are_looked_up_one_at_a_time_and_for_a_second_at_most() -> None:
    async with standing_in() as tailscaled:
        tailscaled.knows("user")
        resolver, other = direct(tailscaled, within=0.5), serve(tailscaled)
        storm = [asyncio.create_task(refused(resolver.accepted("127.0.0.1", 40000 + number))) for number in range(20)]
        await asyncio.sleep(0)
        assert (await other.caller(None, from_(ALICE))).subject == "userid:1", "others are held up by one miss at most"
        reasons = await asyncio.gather(*storm)
    assert set(reasons) == {Refusal.UNKNOWN, Outage.SLOW}
    assert len([asked for asked in questions(tailscaled) if "proto=tcp" in asked]) < len(storm)
    assert tailscaled.most_at_once <= 2, "one connection, and the question about an address"


@virtual
async def test_nobody_is_asked_about_connections_that_have_ended_and_they_hold_up_no_other() -> None:
    async with standing_in() as tailscaled:
        tailscaled.knows("user", "127.0.0.1:40099")
        resolver = direct(tailscaled)
        ended = [
            asyncio.create_task(refused(resolver.accepted("127.0.0.1", 40000 + number, lambda: True)))
            for number in range(10)
        ]
        found = await resolver.accepted("127.0.0.1", 40099, lambda: False)
        assert set(await asyncio.gather(*ended)) == {Refusal.UNKNOWN}
        assert found is not None
        assert found.subject == "userid:1"
        asked = [question for question in questions(tailscaled) if "proto=tcp" in question]
    assert asked == ["whois?addr=127.0.0.1%3A40099&proto=tcp"]


async def test_who_ended_his_connection_before_the_answer_is_not_taken_for_who_has_its_port_now(
    tailscaled: FakeLocalApi,
) -> None:
    ended: list[bool] = []

    async def another_has_it() -> None:
        ended.append(True)
        tailscaled.knows("user", "127.0.0.1:40000")

    tailscaled.delay = another_has_it
    asking = direct(tailscaled).accepted("127.0.0.1", 40000, lambda: bool(ended))
    assert await refused(asking) is Refusal.UNKNOWN


async def test_after_a_connection_of_nobodys_the_daemon_is_left_alone_and_after_a_known_one_it_is_not(
    tailscaled: FakeLocalApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "_REST", 1000.0)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(resolve, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
    tailscaled.knows("user", "127.0.0.1:40000")
    resolver = direct(tailscaled)
    for port in (40000, 40000, 40001):
        with contextlib.suppress(NobodyError):
            await resolver.accepted("127.0.0.1", port)
    assert max(waits) <= 0
    with contextlib.suppress(NobodyError):
        await resolver.accepted("127.0.0.1", 40002)
    assert 0 < waits[-1] <= 1000


@pytest.mark.parametrize("state", ["NoState", "Starting", "NeedsLogin", "Stopped", "NeedsMachineAuth"])
async def test_a_node_that_is_not_in_the_tailnet_knows_nobody_and_denies_nobody(
    tailscaled: FakeLocalApi, state: str
) -> None:
    tailscaled.knows("user")
    tailscaled.status["BackendState"] = state
    assert await refused(serve(tailscaled).caller(None, from_(ALICE))) is Outage.NOT_RUNNING
    assert await refused(serve(tailscaled).caller(None, from_(CI))) is Outage.NOT_RUNNING
    assert await refused(direct(tailscaled).accepted("127.0.0.1", 40000)) is Outage.NOT_RUNNING


async def test_who_was_unknown_while_the_node_came_up_is_asked_about_once_more(tailscaled: FakeLocalApi) -> None:
    resolver = serve(tailscaled)

    async def comes_up() -> None:
        if "status" in tailscaled.asked[-1]:
            tailscaled.knows("user")

    tailscaled.delay = comes_up
    assert (await resolver.caller(None, from_(ALICE))).subject == "userid:1"


@virtual
async def test_our_own_nodes_state_is_asked_at_most_once_a_second_while_it_answers() -> None:
    async with standing_in() as tailscaled:
        tailscaled.knows("user")
        resolver = serve(tailscaled)
        for _ in range(5):
            await resolver.caller(None, from_(ALICE))
        assert len(tailscaled.asked) == 6
        await asyncio.sleep(1.0)
        await resolver.caller(None, from_(ALICE))
        assert len(tailscaled.asked) == 8, "and then again"
        assert await refused(resolver.caller(None, from_(CI))) is Refusal.UNKNOWN
        assert len(tailscaled.asked) == 11, "a miss is not believed without asking"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Node__Expired": True}, Refusal.EXPIRED),
        ({"Node__KeyExpiry": "2026-01-01T00:00:00Z"}, Refusal.EXPIRED),
        ({"Node__StableID": "another"}, Refusal.CHANGED),
        ({"Node__User": 2, "UserProfile__ID": 2}, Refusal.CHANGED),
        ({"Node__Tags": ["tag:ci"]}, Refusal.CHANGED),
        ({"Node__Addresses": ["100.64.0.77/32"]}, Outage.MALFORMED),
        ({"CapMap": "none"}, Outage.MALFORMED),
    ],
)
async def test_a_session_ends_when_its_caller_is_no_longer_the_same(
    tailscaled: FakeLocalApi, changes: dict[str, object], reason: Refusal | Outage
) -> None:
    tailscaled.knows("user")
    resolver = serve(tailscaled)
    known = (await resolver.caller(None, from_(ALICE))).known
    assert (await resolver.again(known)).subject == "userid:1"
    tailscaled.knows("user", ALICE, **changes)
    assert await refused(resolver.again(known)) is reason


async def test_a_session_outlives_a_daemon_that_cannot_be_asked(tailscaled: FakeLocalApi) -> None:
    tailscaled.knows("user")
    resolver = serve(tailscaled)
    known = (await resolver.caller(None, from_(ALICE))).known
    await tailscaled.stop()
    assert await refused(resolver.again(known)) is Outage.UNREACHABLE
    await tailscaled.start()
    assert (await resolver.again(known)).subject == "userid:1"


async def test_a_connection_that_outlives_its_nodes_login_is_nobodys(tailscaled: FakeLocalApi) -> None:
    tailscaled.knows("user", "127.0.0.1:40000", ALICE, Node__KeyExpiry="2026-11-21T09:46:41Z")
    now = [NOW]
    resolver = Direct(LocalApi(str(tailscaled.path)), clock=lambda: now[0])
    connection = await resolver.accepted("127.0.0.1", 40000)
    assert (await resolver.caller(connection, [])).subject == "userid:1"
    now[0] = dt.datetime(2026, 11, 21, 9, 46, 41, tzinfo=dt.UTC).timestamp()
    assert await refused(resolver.caller(connection, [])) is Refusal.EXPIRED


async def test_a_connection_outlives_neither_what_was_granted_nor_its_node(tailscaled: FakeLocalApi) -> None:
    tailscaled.knows("user", "127.0.0.1:40000", ALICE)
    resolver = direct(tailscaled)
    connection = await resolver.accepted("127.0.0.1", 40000)
    assert (await resolver.caller(connection, [])).capabilities
    tailscaled.knows("user", ALICE, CapMap=None)
    assert not (await resolver.caller(connection, [])).capabilities
    tailscaled.knows("user", ALICE, Node__StableID="other")
    assert await refused(resolver.caller(connection, [])) is Refusal.CHANGED
    del tailscaled.whois[ALICE]
    assert await refused(resolver.caller(connection, [])) is Refusal.UNKNOWN


async def test_behind_a_tailscale_service_capabilities_are_those_towards_it(tailscaled: FakeLocalApi) -> None:
    tailscaled.knows("user")
    await serve(tailscaled, service="svc:idp").caller(None, from_(ALICE))
    assert questions(tailscaled) == [f"whois?addr={ALICE}&svc_name=svc%3Aidp"]


@virtual
async def test_a_daemon_that_hangs_ends_the_question_once_for_all_its_steps() -> None:
    async def slow() -> None:
        await asyncio.sleep(0.06)

    async with standing_in() as tailscaled:
        tailscaled.delay = slow
        resolver = Serve(LocalApi(str(tailscaled.path), within=0.1))
        assert await refused(resolver.caller(None, from_(ALICE))) is Outage.SLOW
    assert len(tailscaled.asked) == 2


# ---------------------------------------------------------------------------------------------- callers from a table


def made_up() -> list[Caller]:
    return [read_caller(recorded(name), NOW) for name in ("user", "tagged")]


async def test_callers_from_a_table_are_chosen_as_serve_would_name_them() -> None:
    resolver = Static(made_up(), ["127.0.0.1", "::1"], {})
    connection = await resolver.accepted("127.0.0.1", 40000)
    alice = await resolver.caller(connection, [])
    assert alice.subject == "userid:1"
    assert (await resolver.caller(connection, from_(CI))).user is None
    assert (await resolver.again(alice.known)) == alice
    assert await refused(resolver.caller(connection, from_("100.64.99.9"))) is Refusal.UNKNOWN
    assert await refused(resolver.accepted("10.0.0.1", 40000)) is Refusal.OUTSIDE
    assert await refused(resolver.caller(None, [])) is Refusal.OUTSIDE


@pytest.mark.parametrize(
    ("place", "build"),
    [
        ("a pod", lambda: Static(made_up(), ["127.0.0.1"], {"KUBERNETES_SERVICE_HOST": "10.96.0.1"})),
        ("all addresses", lambda: Static(made_up(), ["127.0.0.1", "0.0.0.0"], {})),
        ("all addresses of either kind", lambda: Static(made_up(), ["::"], {})),
        ("a name", lambda: Static(made_up(), ["localhost"], {})),
        ("a node's address", lambda: Static(made_up(), [ALICE], {})),
        ("nobody", lambda: Static([], ["127.0.0.1"], {})),
    ],
)
def test_callers_from_a_table_refuse_to_be_anywhere_but_on_ones_own_machine(
    place: str, build: Callable[[], Static]
) -> None:
    with pytest.raises(MisplacedError, match=r"one's own machine|loopback|at least one"):
        build()
    assert place


async def test_elsewhere_nobody_is_known_but_sessions_are_looked_after(tailscaled: FakeLocalApi) -> None:
    tailscaled.knows("user")
    over_tailnet = serve(tailscaled)
    elsewhere = Elsewhere(over_tailnet)
    known = (await over_tailnet.caller(None, from_(ALICE))).known
    connection = await elsewhere.accepted("127.0.0.1", 40000)
    assert await refused(elsewhere.caller(connection, from_(ALICE))) is Refusal.OUTSIDE
    assert (await elsewhere.again(known)).subject == "userid:1"


async def test_a_megabyte_of_capabilities_takes_nobody_else_down(tailscaled: FakeLocalApi) -> None:
    tailscaled.knows("user", CapMap={"tailseal.dev/cap/idp": ["x" * 1_000_000]})
    tailscaled.knows("tagged")
    resolver = serve(tailscaled)
    assert await refused(resolver.caller(None, from_(ALICE))) is Outage.MALFORMED
    assert (await resolver.caller(None, from_(CI))).subject == "node:3"


@pytest.mark.parametrize("values", [None, "all", {"v": 1}, 7, True])
async def test_capabilities_of_the_wrong_shape_are_no_capabilities(tailscaled: FakeLocalApi, values: Any) -> None:  # noqa: ANN401
    tailscaled.knows("user", CapMap={"tailseal.dev/cap/idp": values})
    asking = serve(tailscaled).caller(None, from_(ALICE))
    if values is None:
        assert (await asking).capabilities == {"tailseal.dev/cap/idp": ()}
    else:
        assert await refused(asking) is Outage.MALFORMED
