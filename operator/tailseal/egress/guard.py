"""Which addresses and URLs we may ever connect to: pure rules, for hosts that tenants name and DNS that they run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import httpx

from tailseal.egress.errors import EgressError, EgressReason

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "fe80::/10",
        "fd00:ec2::/32",  # EC2's metadata service and its neighbours
        "fd20:ce::254/128",  # Google's
        "100.100.100.200/32",  # Alibaba's
        "168.63.129.16/32",  # Azure's wire server
        "192.0.0.192/32",  # Oracle's
    )
)
"""Where clouds tell a machine who it is and what it may; what both NetworkPolicies shut, and no more."""

NEVER: Final = (
    *METADATA,
    *map(ip_network, ("0.0.0.0/8", "::/128", "224.0.0.0/4", "ff00::/8", "255.255.255.255/32")),
)
"""Not to be opened by anybody."""

_LAST_PORT: Final = 65_535
_NAT64: Final = IPv6Network("64:ff9b::/96")
_INTERNET_V6: Final = (IPv6Network("2000::/3"), _NAT64)
"""All of IPv6 that is routed publicly (RFC 4291 section 2.4, RFC 6052): Python calls much of the rest global too."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What the platform opened beyond the public internet.

    Args:
        names: host names, lower case.
        networks: address ranges.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Opened:
        """Sort entries into names and ranges; a single address is a range of one."""
        names: set[str] = set()
        networks: list[Network] = []
        for entry in entries:
            try:
                networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                names.add(_plain(entry))
        return cls(frozenset(names), tuple(networks))

    def allows(self, host: str, address: Address) -> bool:
        """Whether the host at this address was opened."""
        return _plain(host) in self.names or any(address in network for network in self.networks)


def check_address(host: str, address: Address, opened: Opened) -> None:
    """Refuse an address that is not on the public internet and was not opened.

    An address within an address (mapped, 6to4, Teredo, NAT64) is judged by what is inside.

    Raises:
        EgressError: `AddressRefused`.
    """
    for candidate in (address, *_embedded(address)):
        if any(candidate in network for network in NEVER):
            raise EgressError(EgressReason.ADDRESS_REFUSED, f"{host} is at a link-local or metadata address")
        if not _is_public(candidate) and not opened.allows(host, candidate):
            text = f"{host} is at a private address: the platform must open it (open hosts of the installation)"
            raise EgressError(EgressReason.ADDRESS_REFUSED, text)


def check_url(url: str, opened: Opened) -> httpx.URL:
    """A URL that may be asked: https, or http on loopback where that was opened; no user info, no fragment.

    Raises:
        EgressError: `URLRefused`.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise EgressError(EgressReason.URL_REFUSED, "not a URL") from None
    if not parsed.host or parsed.userinfo or parsed.fragment or (parsed.port or 0) > _LAST_PORT:
        raise EgressError(EgressReason.URL_REFUSED, "a URL with a host, without user name and fragment, is needed")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and _opened_loopback(parsed.host, opened)):
        raise EgressError(EgressReason.URL_REFUSED, f"{parsed.scheme}://{parsed.host}: https is needed")
    return parsed


def _opened_loopback(host: str, opened: Opened) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return _plain(host) == "localhost" and "localhost" in opened.names
    return address.is_loopback and opened.allows(host, address)


def _is_public(address: Address) -> bool:
    return address.is_global and (address.version == 4 or any(address in network for network in _INTERNET_V6))  # noqa: PLR2004 - IPv4


def _embedded(address: Address) -> tuple[IPv4Address, ...]:
    if isinstance(address, IPv4Address):
        return ()
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(entry for entry in inner if entry is not None)


def _plain(host: str) -> str:
    return host.lower().rstrip(".")
