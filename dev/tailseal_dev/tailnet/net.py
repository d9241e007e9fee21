"""Brings a tailnet up and down: users, a policy, and nodes that know each other before anybody may use them."""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailseal_dev.cache import ensure
from tailseal_dev.lifetime import Lifetime
from tailseal_dev.tailnet.headscale import Control, Headscale, TailnetError
from tailseal_dev.tailnet.node import Node
from tailseal_dev.tailnet.space import Space

__all__ = ["Member", "Tailnet", "TailnetError", "User"]

_FIRST_PROXY = 1080
_KNOWN_WITHIN = 180.0


@dataclass(frozen=True, slots=True)
class User:
    """Somebody of the tailnet; without an e-mail address the login name is the bare name."""

    name: str
    email: str = ""
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A node that is there from the start: a user's, or one with tags."""

    name: str
    user: str = ""
    tags: tuple[str, ...] = ()


class Tailnet(Lifetime):
    """Context manager: a tailnet with these users, members and grants, gone when it is left.

    Args:
        users: who there is.
        members: nodes; the first one is who the others are asked about, so it must be granted a way to each of them.
        policy: in headscale's form.
        space: where all of it runs; None: in a namespace of its own.
        control: where the control server is reached; None: on that namespace's loopback, over http.
    """

    def __init__(
        self,
        users: Sequence[User],
        members: Sequence[Member],
        policy: Mapping[str, Any],
        space: Space | None = None,
        control: Control | None = None,
    ) -> None:
        super().__init__()
        self._users, self._members, self._policy = users, members, policy
        self._ids: dict[str, int] = {}
        self.nodes: dict[str, Node] = {}
        self.space, self._control = space or Space(), control or Control()

    def join(self, member: Member) -> Node:
        """One more node; it is in the tailnet, and the first member knows it, when this returns.

        Raises:
            TailnetError: it could not join.
        """
        node = self._node(member)
        node.start()
        node.up(self.key(member))
        self.acquaint(node)
        return node

    def acquaint(self, node: Node) -> None:
        """Wait until the first member knows a node: whoever greets a stranger is heard at the next try, 5 s later.

        Raises:
            TailnetError: it does not.
        """
        self._await_acquaintance([self.nodes[self._members[0].name], node])

    def stray(self, name: str) -> Node:
        """A node that is not started, and has no key to join with."""
        return self._node(Member(name))

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        """Replace the policy; nodes hear of it a moment later."""
        self.headscale.set_policy(policy)

    def _up(self) -> None:
        self._programs, control = ensure("tailscale"), ensure("headscale")  # may take minutes on a first run
        # A socket's path has at most 108 bytes, and pytest's directories are long.
        self.directory = Path(tempfile.mkdtemp(prefix="tailnet-"))
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self._stack.enter_context(self.space)
        self.headscale = Headscale(self.space, control / "headscale", self.directory / "hs", self._control)
        self._stack.callback(self.headscale.stop)
        self.headscale.start()
        self._ids = {
            user.name: self.headscale.add_user(user.name, user.email, user.display_name) for user in self._users
        }
        self.headscale.set_policy(self._policy)
        nodes = [self._node(member) for member in self._members]
        keys = [self.key(member) for member in self._members]
        for node in nodes:
            node.start()
        with ThreadPoolExecutor(len(nodes)) as together:
            list(together.map(Node.up, nodes, keys))
        self._await_acquaintance(nodes)

    def _node(self, member: Member) -> Node:
        port = _FIRST_PROXY + len(self.nodes)
        node = Node(member.name, self.space, self._programs, self.directory / member.name, port, self._control)
        self.nodes[member.name] = node
        self._stack.callback(node.stop)
        return node

    def key(self, member: Member) -> str:
        """A key with which nodes of its user, or with its tags, join."""
        return self.headscale.key(None if member.tags else self._ids[member.user], member.tags)

    def _await_acquaintance(self, nodes: Sequence[Node]) -> None:
        first, *others = nodes
        for node in others:
            knows = functools.partial(_knows, first, node.addresses[0])
            until(knows, f"{first.name} does not know {node.name}: is there a grant between them?")


def _knows(node: Node, address: str) -> bool:
    return node.whois(address) is not None


def until(condition: Callable[[], bool], complaint: str, within: float = _KNOWN_WITHIN) -> None:
    """Wait for something that takes milliseconds.

    Raises:
        TailnetError: it did not come about.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TailnetError(complaint)
        time.sleep(0.02)
