"""Who is calling over the tailnet: a person at a node, or a machine, and what the tailnet's policy file grants them.

Identity is by ids that never come back: names of people and nodes are for other people to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class User:
    """A person.

    Args:
        id: decimal; a string, because many JSON readers know no whole numbers this large.
        login: name such as `ana@corp.example`; it may change hands.
        display_name: as other people read it.
        picture: URL; empty: none.
        groups: as the control server reports them, sorted; headscale reports none.
    """

    id: str
    login: str
    display_name: str
    picture: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A device.

    Args:
        stable_id: that no other node ever has.
        id: the control server's number of it, decimal.
        name: in the tailnet's DNS, without the last dot.
        key: its public key, `nodekey:<hex>`.
        tags: `tag:<name>`, sorted; a node with any belongs to nobody.
        addresses: in the tailnet.
    """

    stable_id: str
    id: str
    name: str
    key: str
    tags: tuple[str, ...]
    addresses: tuple[Address, ...]

    @property
    def tailnet(self) -> str:
        """The tailnet's name: the DNS name without the node's own label."""
        return self.name.partition(".")[2]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who it is, as Tailscale said at one moment.

    Args:
        node: where the request comes from.
        user: whose node it is; None: a machine, which nobody's rights belong to.
        capabilities: values by name, in the order of the policy file: any JSON.
    """

    node: Node
    user: User | None
    capabilities: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, repr=False)

    @property
    def subject(self) -> str:
        """`sub` of what is issued to them."""
        return f"node:{self.node.stable_id}" if self.user is None else f"userid:{self.user.id}"

    @property
    def known(self) -> Known:
        """What to keep for a session."""
        return Known(self.node.stable_id, "" if self.user is None else self.user.id, self.node.addresses[0])


@dataclass(frozen=True, slots=True)
class Known:
    """Whom a session belongs to: enough to ask whether they are still there, and still the same.

    Args:
        stable_id: of the node.
        user_id: empty: a machine.
        address: of the node in the tailnet.
    """

    stable_id: str
    user_id: str
    address: Address

    def is_of(self, caller: Caller) -> bool:
        """Whether it is the same node and the same person, or both times nobody's."""
        now = caller.known
        return (self.stable_id, self.user_id) == (now.stable_id, now.user_id)
