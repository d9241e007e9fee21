"""Redirect URIs: compared character by character, but for the port where the browser runs on the same machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_LOCAL: Final = re.compile(r"(http://(?:127\.0\.0\.1|localhost|\[::1\]))(?::[0-9]{1,5})?(?=[/?]|\Z)", re.ASCII)
_HOST: Final = re.compile(r"https://([^:/?]+)", re.ASCII)

LOCALHOST: Final = "localhost"
"""What bounds call this very machine, however a URI writes it."""


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Whether a request may redirect there.

    A native application listens on whatever port it gets (RFC 8252 section 7.3), so for http on the machine of the
    browser any port will do; the address still counts. All else is equal or not (RFC 9700 section 4.1.3).
    """
    return any(uri == known or _without_port(uri) == _without_port(known) is not None for known in registered)


def host_of(uri: str) -> str:
    """Who receives what is sent there: a host in lower case, `localhost`, or the scheme of an installed application."""
    if _LOCAL.match(uri):
        return LOCALHOST
    found = _HOST.match(uri)
    return (found[1] if found else uri.partition(":")[0]).lower()


def _without_port(uri: str) -> tuple[str, str] | None:
    found = _LOCAL.match(uri)
    return (found[1], uri[found.end() :]) if found else None
