"""The LocalAPI client: what it takes for an answer, and how everything else ends: bounded, soon, with a clear word."""

from __future__ import annotations

import asyncio
import json

import pytest

from fakes.localapi import FakeLocalApi, response, standing_in
from fakes.virtualtime import virtual
from tailseal.tailnet import LocalApi, Outage, UnavailableError
from tailseal.tailnet.localapi import AT_ONCE, MAX_ANSWER

LARGE = 2**63 - 1


@pytest.mark.parametrize("chunked", [True, False])
async def test_answers_are_read_whole_in_either_framing_and_numbers_stay_exact(
    tailscaled: FakeLocalApi, *, chunked: bool
) -> None:
    tailscaled.raw = response({"id": LARGE, "text": "größe " * 1000}, chunked=chunked)
    assert await LocalApi(str(tailscaled.path)).get("status") == {"id": LARGE, "text": "größe " * 1000}


async def test_parameters_are_escaped_so_that_no_address_adds_any(tailscaled: FakeLocalApi) -> None:
    assert await LocalApi(str(tailscaled.path)).get("whois", addr="[::1]:5&svc_name=x y") is None
    assert tailscaled.asked == ["/localapi/v0/whois?addr=%5B%3A%3A1%5D%3A5%26svc_name%3Dx+y"]


@pytest.mark.parametrize(
    ("why", "raw", "reason"),
    [
        ("nothing at all", b"", Outage.UNREACHABLE),
        ("half a header", b"HTTP/1.1 200 OK\r\nContent-", Outage.UNREACHABLE),
        ("half a body", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Outage.UNREACHABLE),
        ("half of the chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", Outage.UNREACHABLE),
        ("no length", b"HTTP/1.1 200 OK\r\n\r\n{}", Outage.UNREACHABLE),
        ("another protocol", b"SSH-2.0-OpenSSH\r\n\r\n", Outage.MALFORMED),
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", Outage.MALFORMED),
        (
            "length and chunks",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            Outage.MALFORMED,
        ),
        ("a length that is none", b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", Outage.MALFORMED),
        ("a chunk that is none", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Outage.MALFORMED),
        ("no JSON", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", Outage.MALFORMED),
        ("no UTF-8", b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"\xff\xfe"', Outage.MALFORMED),
        ("no number", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nNaN", Outage.MALFORMED),
        ("too deep", response(None).replace(b"4\r\n\r\nnull", b"50000\r\n\r\n" + b"[" * 50_000), Outage.MALFORMED),
        (
            "a number too long",
            response(None).replace(b"4\r\n\r\nnull", b"5000\r\n\r\n" + b"1" * 5_000),
            Outage.MALFORMED,
        ),
        ("too long a header", b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_ANSWER, Outage.MALFORMED),
        ("too long a body", response("x" * 1_000_000, chunked=False), Outage.MALFORMED),
        ("too many chunks", response("x" * 1_000_000, chunked=True), Outage.MALFORMED),
        ("forbidden", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Outage.REFUSED),
        ("a fault", b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}", Outage.REFUSED),
        ("moved", b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", Outage.REFUSED),
        ("not yet", b"HTTP/1.1 100 Continue\r\n\r\n", Outage.REFUSED),
    ],
)
async def test_what_is_no_whole_answer_is_an_outage(
    tailscaled: FakeLocalApi, why: str, raw: bytes, reason: Outage
) -> None:
    tailscaled.raw = raw
    with pytest.raises(UnavailableError) as caught:
        await LocalApi(str(tailscaled.path)).get("whois", addr="100.64.0.1")
    assert caught.value.reason is reason, why


async def test_a_socket_that_is_not_there_is_an_outage_and_comes_back_without_our_help(
    tailscaled: FakeLocalApi,
) -> None:
    api = LocalApi(str(tailscaled.path))
    await tailscaled.stop()
    with pytest.raises(UnavailableError) as caught:
        await api.get("status")
    assert caught.value.reason is Outage.UNREACHABLE
    await tailscaled.start()
    assert (await api.get("status"))["BackendState"] == "Running"


@virtual
async def test_a_daemon_that_hangs_is_given_up_and_waiting_for_others_counts() -> None:
    never = asyncio.Event()

    async def hang() -> None:
        await never.wait()

    async with standing_in() as tailscaled:
        tailscaled.delay = hang
        api = LocalApi(str(tailscaled.path), within=0.05)
        results = await asyncio.gather(*(api.get("status") for _ in range(3 * AT_ONCE)), return_exceptions=True)
        assert {type(result) for result in results} == {UnavailableError}
        assert {result.reason for result in results if isinstance(result, UnavailableError)} == {Outage.SLOW}
        assert len(tailscaled.asked) <= AT_ONCE
        never.set()
        tailscaled.delay = None
        assert (await LocalApi(str(tailscaled.path)).get("status"))["BackendState"] == "Running"


async def test_errors_repeat_nothing_of_the_answer(tailscaled: FakeLocalApi) -> None:
    tailscaled.raw = response(json.dumps({"Key": "nodekey:secret"})).replace(b"}", b"")
    tailscaled.raw = b"HTTP/1.1 500 nodekey:secret\r\nContent-Length: 14\r\n\r\nnodekey:secret"
    with pytest.raises(UnavailableError) as caught:
        await LocalApi(str(tailscaled.path)).get("whois", addr="100.64.0.1")
    assert "secret" not in str(caught.value)
