"""Which addresses are the tailnet's: everybody else's are never asked about."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from tailseal.domain.caller import Address

_TAILNET: Final = (ip_network("100.64.0.0/10"), ip_network("fd7a:115c:a1e0::/48"))


def tailnet_address(text: str) -> Address | None:
    """The node's address that the text is; None: it is none, or none of a node.

    An IPv4 address inside an IPv6 one is the former. Nothing is forgiven: no blanks, ports, brackets or zones.
    """
    address = _parse(text)
    return address if address is not None and any(address in network for network in _TAILNET) else None


def is_loopback(text: str) -> bool:
    """Whether the text is an address of this host alone."""
    address = _parse(text)
    return address is not None and address.is_loopback


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address
