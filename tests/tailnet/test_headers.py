"""What serve writes, and what others write in its name."""

from __future__ import annotations

from email.charset import QP
from email.header import Header
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.tailnet import NobodyError, Refusal, headers
from tailseal.tailnet.addresses import is_loopback, tailnet_address

SERVE = [
    (b"Host", b"localhost"),
    (b"X-Forwarded-For", b"100.64.0.1"),
    (b"X-Forwarded-Host", b"idp.tn.test"),
    (b"Tailscale-User-Login", b"alice@example.com"),
    (b"Tailscale-User-Name", b"=?utf-8?q?Alice_=C3=84?="),
    (b"Tailscale-User-Profile-Pic", b""),
    (b"Tailscale-Headers-Info", b"https://tailscale.com/s/serve-headers"),
]
NOBODY = [pair for pair in SERVE if pair[0] != b"X-Forwarded-For"]


def test_the_caller_is_the_one_address_that_serve_wrote() -> None:
    assert str(headers.serve_peer(SERVE)) == "100.64.0.1"
    assert str(headers.serve_peer([*NOBODY, (b"x-forwarded-for", b"fd7a:115c:a1e0::1")])) == "fd7a:115c:a1e0::1"


@pytest.mark.parametrize(
    ("attack", "sent", "reason"),
    [
        ("none", NOBODY, Refusal.FORWARDED),
        ("two headers", [*SERVE, (b"x-forwarded-for", b"100.64.0.2")], Refusal.FORWARDED),
        ("twice the same", [*SERVE, (b"X-Forwarded-For", b"100.64.0.1")], Refusal.FORWARDED),
        ("a list", [*NOBODY, (b"X-Forwarded-For", b"100.64.0.2, 100.64.0.1")], Refusal.FORWARDED),
        ("with a port", [*NOBODY, (b"X-Forwarded-For", b"100.64.0.1:443")], Refusal.FORWARDED),
        ("in brackets", [*NOBODY, (b"X-Forwarded-For", b"[fd7a:115c:a1e0::1]")], Refusal.FORWARDED),
        ("with a zone", [*NOBODY, (b"X-Forwarded-For", b"fd7a:115c:a1e0::1%eth0")], Refusal.FORWARDED),
        ("with a blank", [*NOBODY, (b"X-Forwarded-For", b" 100.64.0.1")], Refusal.FORWARDED),
        ("with leading zeros", [*NOBODY, (b"X-Forwarded-For", b"100.064.0.1")], Refusal.FORWARDED),
        (
            "digits of another script",
            [*NOBODY, (b"X-Forwarded-For", b"1\xef\xbc\x90\xef\xbc\x90.64.0.1")],
            Refusal.FORWARDED,
        ),
        ("a name", [*NOBODY, (b"X-Forwarded-For", b"alice")], Refusal.FORWARDED),
        ("loopback", [*NOBODY, (b"X-Forwarded-For", b"127.0.0.1")], Refusal.FORWARDED),
        ("a pod", [*NOBODY, (b"X-Forwarded-For", b"10.244.0.7")], Refusal.FORWARDED),
        ("the internet", [*NOBODY, (b"X-Forwarded-For", b"203.0.113.7")], Refusal.FORWARDED),
        ("nothing in it", [*NOBODY, (b"X-Forwarded-For", b"")], Refusal.FORWARDED),
        ("a twin with underscores", [*NOBODY, (b"X_Forwarded_For", b"100.64.0.1")], Refusal.FORWARDED),
        ("another header", [*NOBODY, (b"X-Real-IP", b"100.64.0.1")], Refusal.FORWARDED),
        ("Forwarded", [*NOBODY, (b"Forwarded", b"for=100.64.0.1")], Refusal.FORWARDED),
        ("Funnel", [*SERVE, (b"Tailscale-Funnel-Request", b"?1")], Refusal.FUNNEL),
        ("Funnel in other letters", [*SERVE, (b"tailscale-funnel-REQUEST", b"?0")], Refusal.FUNNEL),
    ],
)
def test_everything_else_is_nobody(attack: str, sent: list[tuple[bytes, bytes]], reason: Refusal) -> None:
    with pytest.raises(NobodyError) as caught:
        headers.serve_peer(sent)
    assert caught.value.reason is reason, attack


def test_a_twin_with_underscores_does_not_spoil_what_serve_wrote() -> None:
    twins = [(b"X_Forwarded_For", b"100.64.0.9"), (b"Tailscale_User_Login", b"root@example.com")]
    assert str(headers.serve_peer([*twins, *SERVE])) == "100.64.0.1"


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("100.64.0.0", True),
        ("100.127.255.255", True),
        ("100.63.255.255", False),
        ("100.128.0.0", False),
        ("::ffff:100.64.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("fd7a:115c:a1e0::", True),
        ("fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff", True),
        ("fd7a:115c:a1e1::", False),
        ("FD7A:115C:A1E0::1", True),
        ("fe80::1%eth0", False),
        ("", False),
        ("100.64.0.1/32", False),
    ],
)
def test_the_tailnets_addresses_are_those_of_its_two_ranges(text: str, *, ours: bool) -> None:
    assert (tailnet_address(text) is not None) is ours


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("100.64.0.1", False),
        ("localhost", False),
    ],
)
def test_loopback_is_this_host_alone(text: str, *, loopback: bool) -> None:
    assert is_loopback(text) is loopback


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("alice@example.com", "alice@example.com"),
        ("=?utf-8?q?Alice_=C3=84?=", "Alice Ä"),
        ("=?utf-8?q?a=5Fb?=", "a_b"),
        ("=?utf-8?q?gr?= =?utf-8?q?=C3=B6=C3=9Fe?=", "größe"),
        ("a = b?", "a = b?"),
        ("", ""),
    ],
)
def test_what_serve_encoded_is_decoded(value: str, found: str) -> None:
    assert headers.decoded(value) == found


@pytest.mark.parametrize("value", ["=?klingon?q?x?=", "=?utf-8?q?=FF?="])
def test_what_nobody_can_decode_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="2047"):
        headers.decoded(value)


CAPABILITIES = b"Tailscale-App-Capabilities"


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ([], None),
        ([(b"Tailscale_App_Capabilities", b'{"a.b/c": [1]}')], None),
        ([(CAPABILITIES, b"{}")], {}),
        ([(CAPABILITIES.lower(), b'{"a.b/c": [{"role": "user"}, 1]}')], {"a.b/c": ({"role": "user"}, 1)}),
        (
            [(CAPABILITIES, b'=?utf-8?q?{"a.b/c":[{"note":"gr=C3=B6=C3=9Fe_?= =?utf-8?q?=5F"}]}?=')],
            {"a.b/c": ({"note": "größe _"},)},
        ),
    ],
)
def test_capabilities_that_serve_passes_on_are_read(
    sent: list[tuple[bytes, bytes]], found: dict[str, tuple[Any, ...]] | None
) -> None:
    assert headers.app_capabilities(sent) == found


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"a.b/c": {}}',
        b'{"a.b/c": null}',
        b"\xff{}",
        b"[" * 60_000,
        b'{"a":["' + b"x" * 70_000,
    ],
)
def test_a_header_with_capabilities_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        headers.app_capabilities([(CAPABILITIES, value)])


def test_a_second_header_with_capabilities_is_refused() -> None:
    with pytest.raises(ValueError, match="more than one"):
        headers.app_capabilities([(CAPABILITIES, b"{}"), (CAPABILITIES, b"{}")])


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=60))
def test_any_text_comes_back_from_its_encoding(text: str) -> None:
    from email.charset import Charset  # noqa: PLC0415

    charset = Charset("utf-8")
    charset.header_encoding = QP
    encoded = Header(text, charset).encode(linesep="", maxlinelen=10_000)
    assert headers.decoded(encoded) == text
