"""Where a worker listens: one address, and never all of a machine's."""

from __future__ import annotations

import pytest

from tailseal.workers.common.http.address import Address, AddressError


@pytest.mark.parametrize(
    "text", ["0.0.0.0:1", "[::]:1", ":::1", ":8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"]
)
def test_an_address_that_means_everything_or_nothing_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[fd00::1]:8443", "fd00::1", 8443), ("fd00::1:8443", "fd00::1", 8443)],
)
def test_an_address_of_a_pod_is_taken_with_or_without_brackets(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
