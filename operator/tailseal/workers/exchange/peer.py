"""Who called, for audit lines and limits: the connection's peer, or the last hop that a trusted proxy vouches for.

It never proves an identity: no decision on trust looks at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def networks(entries: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and CIDR ranges of trusted proxies; what is neither is left out, so it trusts nobody."""
    found = []
    for entry in entries:
        try:
            found.append(ip_network(entry, strict=False))
        except ValueError:
            continue
    return tuple(found)


def caller(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The right-most address that is not a trusted proxy's.

    Args:
        peer: the connection's.
        forwarded: header `X-Forwarded-For`, all its lines joined by commas.
        trusted: our proxies.
    """
    if not trusted:
        return peer
    hop, rest = peer, forwarded
    while _is_trusted(hop, trusted):
        rest, _, hop = rest.rstrip(", ").rpartition(",")
        hop = hop.strip()
        if not hop:
            return peer
    return hop if _is_address(hop) else peer


def is_unnamed_proxy(peer: str, forwarded: str, trusted: Sequence[Network]) -> bool:
    """Whether the peer looks like an ingress that nobody named: then all callers behind it count as one.

    Args:
        peer: the connection's.
        forwarded: header `X-Forwarded-For`.
        trusted: our proxies.
    """
    return bool(forwarded) and not trusted and _is_address(peer) and ip_address(peer).is_private


def _is_trusted(hop: str, trusted: Sequence[Network]) -> bool:
    return _is_address(hop) and any(ip_address(hop) in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
