"""What proxies are answered that ask before they pass a request on."""

from __future__ import annotations

import json
from email.header import decode_header, make_header
from typing import Any

import pytest
from structlog.testing import capture_logs

from fakes.localapi import FakeLocalApi
from guard.people import ALICE, APP, CI, STRANGER, Fields, asked, of
from tailseal.guard.forward import Asking, Forward
from tailseal.guard.rules import Rules
from tailseal.guard.sight import Proxied, ProxiedConnection, ProxiedHeaders
from tailseal.tailnet import Direct, LocalApi, Serve

RULES = Rules.read(
    {
        "rules": [
            {"path": "/healthz", "anonymous": True},
            {
                "path": "/items/{id}",
                "methods": ["GET"],
                "require": [{"capability": APP, "action": "read", "resource": "items/{id}"}],
            },
            {"path": "/notes/{name}", "require": [{"capability": APP, "action": "read", "resource": "notes/{name}"}]},
            {"path": "/hello", "require": []},
        ]
    }
)
PROXY = ("127.0.0.1", 40_000)


def about(uri: str, method: str = "GET") -> Fields:
    return [(b"X-Forwarded-Method", method.encode()), (b"X-Forwarded-Uri", uri.encode())]


@pytest.fixture
def forward(tailscaled: FakeLocalApi) -> Forward:
    return Forward(Proxied(Serve(LocalApi(str(tailscaled.path)))), RULES, Asking.FORWARDED)


@pytest.mark.parametrize(
    ("who", "uri", "status", "reason"),
    [
        (of(ALICE), "/items/1", 200, ""),
        (of(ALICE), "/items/1?x=1", 200, ""),
        (of(ALICE), "/items/2", 403, "PermissionMissing"),
        (of(ALICE), "/notes/gr%C3%B6%C3%9Fe", 200, ""),
        (of(CI), "/items/1", 403, "CapabilityMissing"),
        (of(CI), "/hello", 200, ""),
        (of(STRANGER), "/hello", 401, "CallerUnknown"),
        ([], "/hello", 401, "ForwardedForMalformed"),
        (of(ALICE, (b"tailscale-funnel-request", b"?1")), "/hello", 401, "Funnel"),
        (of(f"{ALICE}, {CI}"), "/hello", 401, "ForwardedForMalformed"),
        ([], "/healthz", 200, ""),
        (of(ALICE), "/admin", 403, "NoRuleMatches"),
        (of(ALICE), "/items/../items/1", 403, "PathAmbiguous"),
    ],
)
async def test_each_request_is_decided_by_the_rule_about_it(
    forward: Forward, who: Fields, uri: str, status: int, reason: str
) -> None:
    found, _, body = await asked(forward, "/", [*who, *about(uri)], client=PROXY)
    assert found == status
    assert (json.loads(body)["reason"] if body else "") == reason


async def test_the_method_is_the_one_that_was_asked_of_the_proxy(forward: Forward) -> None:
    denied = await asked(forward, "/", [*of(ALICE), *about("/items/1", "DELETE")], method="GET")
    assert denied[0] == 403


@pytest.mark.parametrize("sent", [[], about("/healthz")[:1], about("/healthz")[1:], about("/healthz") * 2])
async def test_a_proxy_that_does_not_say_what_it_is_about_lets_nobody_through(forward: Forward, sent: Fields) -> None:
    status, _, body = await asked(forward, "/healthz", [*of(ALICE), *sent])
    assert (status, json.loads(body)["reason"]) == (403, "RequestMissing")


async def test_a_proxy_that_asks_with_the_request_itself_is_answered_about_that(tailscaled: FakeLocalApi) -> None:
    forward = Forward(Proxied(Serve(LocalApi(str(tailscaled.path)))), RULES, Asking.ORIGINAL)
    forged = about("/healthz")
    assert (await asked(forward, "/items/1", [*of(ALICE), *forged]))[0] == 200
    assert (await asked(forward, "/items/2", [*of(ALICE), *forged]))[0] == 403
    assert (await asked(forward, "/items/1", [*of(ALICE), *forged], method="PUT"))[0] == 403


async def test_who_it_is_goes_on_to_the_service_and_overwrites_what_the_caller_said(
    forward: Forward, tailscaled: FakeLocalApi
) -> None:
    tailscaled.whois[ALICE]["UserProfile"]["LoginName"] = "ålice@example.com"
    _, told, _ = await asked(forward, "/", [*of(ALICE), *about("/hello")])
    login = str(make_header(decode_header(told.pop(b"tailseal-login").decode())))
    assert login == "ålice@example.com"
    assert told[b"tailseal-subject"] == b"userid:1"
    assert (told[b"tailseal-node"], told[b"tailseal-tags"]) == (b"alice.tn.test", b"")
    _, told, _ = await asked(forward, "/", [*of(CI), *about("/hello")])
    assert (told[b"tailseal-subject"], told[b"tailseal-login"], told[b"tailseal-tags"]) == (b"node:3", b"", b"tag:ci")
    _, told, _ = await asked(forward, "/", about("/healthz"))
    assert [told[name] for name in sorted(told) if name.startswith(b"tailseal-")] == [b""] * 4


async def test_a_login_that_tries_to_be_two_headers_is_one(forward: Forward, tailscaled: FakeLocalApi) -> None:
    tailscaled.whois[ALICE]["UserProfile"]["LoginName"] = "a\r\nTailseal-Subject: userid:2"
    _, told, _ = await asked(forward, "/", [*of(ALICE), *about("/hello")])
    assert not {10, 13} & set(told[b"tailseal-login"])


async def test_where_tailscaled_cannot_say_nobody_gets_through_but_where_nobody_is_asked(
    forward: Forward, tailscaled: FakeLocalApi
) -> None:
    await tailscaled.stop()
    assert (await asked(forward, "/", [*of(ALICE), *about("/hello")]))[0] == 503
    assert (await asked(forward, "/", [*of(ALICE), *about("/healthz")]))[0] == 200


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (["127.0.0.1:5000"], 200),
        (["127.0.0.1:5001"], 401),
        ([], 401),
        (["127.0.0.1:5000", "127.0.0.1:5000"], 401),
        (["127.0.0.1"], 401),
        ([":5000"], 401),
        (["127.0.0.1:x"], 401),
        ([f"{ALICE}:5000"], 401),
        (["10.0.0.1:5000"], 401),
        (["[::1]:5001"], 401),
    ],
)
async def test_a_proxy_on_loopback_says_which_connection_it_is(
    tailscaled: FakeLocalApi, told: list[str], status: int
) -> None:
    sight = ProxiedConnection(Direct(LocalApi(str(tailscaled.path))))
    sent = [(b"tailseal-connection", text.encode()) for text in told]
    forged = [(b"x-forwarded-for", ALICE.encode())]
    forward = Forward(sight, RULES, Asking.FORWARDED)
    assert (await asked(forward, "/", [*sent, *forged, *about("/items/1")], client=PROXY))[0] == status


async def test_a_proxy_can_pass_on_what_serve_wrote() -> None:
    granted = json.dumps({APP: [{"action": ["read"], "resources": ["items/1"]}]}).encode()
    serve: Any = [(b"tailscale-app-capabilities", granted), (b"tailscale-user-login", b"alice@example.com")]
    forward = Forward(ProxiedHeaders(), RULES, Asking.FORWARDED)
    status, told, _ = await asked(forward, "/", [*of(ALICE), *serve, *about("/items/1")])
    assert (status, told[b"tailseal-login"], told[b"tailseal-subject"]) == (200, b"alice@example.com", b"")
    assert (await asked(forward, "/", [*of(ALICE), *serve, *about("/items/2")]))[0] == 403


async def test_refusals_are_written_down_without_anything_that_was_sent(forward: Forward) -> None:
    with capture_logs() as lines:
        await asked(forward, "/", [*of(ALICE), *about("/items/secret")])
        await asked(forward, "/", [*of(ALICE), *about("/secret?token=secret")])
    assert lines == [
        {
            "event": "refused",
            "log_level": "info",
            "status": 403,
            "reason": "PermissionMissing",
            "rule": "/items/{id}",
            "subject": "userid:1",
        },
        {"event": "refused", "log_level": "info", "status": 403, "reason": "NoRuleMatches", "rule": "", "subject": ""},
    ]
