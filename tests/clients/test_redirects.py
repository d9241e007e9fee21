"""Redirect URIs: exact, but for the port on the browser's own machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.domain.clients.redirects import host_of, is_registered

REGISTERED = (
    "https://app.example/cb?a=b",
    "http://127.0.0.1:8000/cb",
    "http://localhost/cb",
    "http://[::1]/",
    "com.example.app:/cb",
)


@pytest.mark.parametrize(
    "uri",
    [
        *REGISTERED,
        "http://127.0.0.1/cb",
        "http://127.0.0.1:61023/cb",
        "http://localhost:1/cb",
        "http://[::1]:8080/",
    ],
)
def test_what_is_registered_is_redirected_to(uri: str) -> None:
    assert is_registered(uri, REGISTERED)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://app.example/cb",
        "https://app.example/cb?a=b&c=d",
        "https://app.example:8443/cb?a=b",
        "https://app.example/cb?a=b#x",
        "https://APP.example/cb?a=b",
        "https://app.example.evil.example/cb?a=b",
        "https://evil.example/https://app.example/cb?a=b",
        "http://127.0.0.1:8000/other",
        "http://127.0.0.1:8000/cb/../other",
        "https://127.0.0.1:8000/cb",
        "http://127.0.0.1:8000@evil.example/cb",
        "http://127.0.0.1:evil/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.1:123456/cb",
        "http://127.0.0.1:٨/cb",
        "http://127.0.0.1:8000/cb\n",
        "http://localhost.evil.example/cb",
        "http://localhost:80",
        "http://[::1]:1",
        "com.example.app:/cb2",
    ],
)
def test_anything_else_is_not(uri: str) -> None:
    assert not is_registered(uri, REGISTERED)


@given(st.text(max_size=60))
def test_no_other_host_is_ever_let_through_by_a_loopback_registration(text: str) -> None:
    uri = f"http://127.0.0.1{text}"
    if is_registered(uri, ["http://127.0.0.1/cb"]):
        assert text.removesuffix("/cb").lstrip(":").isdigit() or text == "/cb"


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("https://App.Example:8443/cb", "app.example"),
        ("https://app.example?x", "app.example"),
        ("http://127.0.0.1:1/", "localhost"),
        ("http://[::1]/", "localhost"),
        ("http://localhost/", "localhost"),
        ("com.example.app:/cb", "com.example.app"),
    ],
)
def test_bounds_see_who_receives_what_is_sent(uri: str, host: str) -> None:
    assert host_of(uri) == host
