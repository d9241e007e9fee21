"""The headers that `tailscale serve` writes: trusted on its own unix socket only, and even there read strictly.

Serve removes what a caller sent under the names that it writes itself, but not twins with an underscore, which some
servers take for the same name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Any, Final

from tailseal.domain.caller import Address
from tailseal.tailnet.addresses import tailnet_address
from tailseal.tailnet.errors import NobodyError, Refusal

Headers = Sequence[tuple[bytes, bytes]]
"""Names and values as they came: any case, any number of each."""

MAX_CAPABILITIES: Final = 65_536
"""Longest value of the header with capabilities, in bytes."""

_FORWARDED_FOR: Final = b"x-forwarded-for"
_FUNNEL: Final = b"tailscale-funnel-request"
_CAPABILITIES: Final = b"tailscale-app-capabilities"


def serve_peer(headers: Headers) -> Address:
    """The node that serve has the request from.

    Raises:
        NobodyError: it came through Funnel, or what serve writes is not there.
    """
    if values(headers, _FUNNEL):
        raise NobodyError(Refusal.FUNNEL)
    written = values(headers, _FORWARDED_FOR)
    address = tailnet_address(written[0].decode("ascii", "replace")) if len(written) == 1 else None
    if address is None:
        raise NobodyError(Refusal.FORWARDED)
    return address


def app_capabilities(headers: Headers) -> dict[str, tuple[Any, ...]] | None:
    """The capabilities that serve was told to pass on, by name; None: it passed on none.

    Raises:
        ValueError: it is no such header, or there are several.
    """
    written = values(headers, _CAPABILITIES)
    if not written:
        return None
    if len(written) > 1 or len(written[0]) > MAX_CAPABILITIES:
        raise ValueError("more than one header with capabilities, or too long a one")
    try:
        found = json.loads(decoded(written[0].decode("ascii")))
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(found, dict) or not all(isinstance(values, list) for values in found.values()):
        raise ValueError("must be a JSON object of lists")
    return {name: tuple(values) for name, values in found.items()}


def decoded(value: str) -> str:
    """A value that serve may have encoded by RFC 2047, as it does with what is not ASCII.

    Raises:
        ValueError: it is encoded in a way that nobody can read.
    """
    if "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError) as error:
        raise ValueError("not RFC 2047") from error


def values(headers: Headers, name: bytes) -> list[bytes]:
    """All values of a header, by its name in lower case; names with an underscore are other names."""
    return [value for found, value in headers if found.lower() == name]
