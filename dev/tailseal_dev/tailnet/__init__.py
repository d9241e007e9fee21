"""A real tailnet in a network namespace of its own: headscale, and tailscaled nodes in userspace mode."""

from __future__ import annotations

from tailseal_dev.tailnet.net import Tailnet, TailnetError
from tailseal_dev.tailnet.node import Node
from tailseal_dev.tailnet.space import why_not

__all__ = ["Node", "Tailnet", "TailnetError", "why_not"]
