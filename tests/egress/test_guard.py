"""Which addresses and URLs are ever connected to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.egress.errors import EgressError, EgressReason
from tailseal.egress.guard import Opened, check_address, check_url

CLOSED = Opened()
EVERYTHING = Opened.of(["0.0.0.0/0", "::/0"])

PUBLIC = ("140.82.112.3", "8.8.8.8", "2606:4700::1111", "2a00:1450:4001::200e")
PRIVATE = (
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "100.127.255.254", "198.18.0.1"),
    *("::1", "fc00::1", "fd7a:115c:a1e0::1", "::ffff:10.0.0.1", "2002:0a00:0001::1", "64:ff9b::10.0.0.1"),
    *("192.0.2.1", "240.0.0.1", "2001:db8::1"),
    # What Python calls global and no router of the internet knows: site-local, overlays, addresses within addresses.
    *("fec0::1", "200::1", "5f00::1", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b:1::10.0.0.1"),
)
NEVER = (
    *("169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200"),
    *("168.63.129.16", "192.0.0.192", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "255.255.255.255"),
    *("::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "::ffff:0.0.0.0"),
)


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_reached(address: str) -> None:
    check_address("host.example", ip_address(address), CLOSED)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_until_the_platform_opens_them(address: str) -> None:
    with pytest.raises(EgressError) as caught:
        check_address("host.example", ip_address(address), CLOSED)
    assert caught.value.reason is EgressReason.ADDRESS_REFUSED
    check_address("host.example", ip_address(address), EVERYTHING)
    check_address("HOST.example.", ip_address(address), Opened.of(["host.example"]))
    with pytest.raises(EgressError):
        check_address("other.example", ip_address(address), Opened.of(["host.example"]))


@pytest.mark.parametrize("address", NEVER)
def test_link_local_and_metadata_are_refused_whoever_opens_them(address: str) -> None:
    for opened in (CLOSED, EVERYTHING, Opened.of(["host.example", address])):
        with pytest.raises(EgressError):
            check_address("host.example", ip_address(address), opened)


@given(st.ip_addresses(network="169.254.0.0/16") | st.ip_addresses(network="fe80::/10"))
def test_no_link_local_address_is_ever_reached(address: object) -> None:
    with pytest.raises(EgressError):
        check_address("host.example", ip_address(str(address)), EVERYTHING)


@pytest.mark.parametrize(
    "url",
    [
        "http://ci.example/jwks",
        "http://127.0.0.1/jwks",
        "http://localhost/jwks",
        "ftp://ci.example/",
        "file:///etc/passwd",
        "https:///jwks",
        "https://user:password@ci.example/",
        "https://ci.example/#part",
        "//ci.example/",
        "jwks",
        "",
        "https://[::1",
        "https://ci.example:99999999/",
    ],
)
def test_a_url_that_is_not_plain_https_is_refused(url: str) -> None:
    with pytest.raises(EgressError) as caught:
        check_url(url, CLOSED)
    assert caught.value.reason is EgressReason.URL_REFUSED


def test_https_is_taken() -> None:
    assert check_url("https://ci.example/.well-known/jwks?x=1", CLOSED).host == "ci.example"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8081/x", "http://localhost:8081/x", "http://[::1]/x"])
def test_http_is_for_opened_loopback_only(url: str) -> None:
    opened = Opened.of(["127.0.0.0/8", "::1", "localhost"])
    assert check_url(url, opened).scheme == "http"
    with pytest.raises(EgressError):
        check_url("http://10.0.0.1/x", Opened.of(["10.0.0.0/8"]))
    with pytest.raises(EgressError):
        check_url("http://intern.example/x", Opened.of(["intern.example"]))
