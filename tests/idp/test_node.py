"""What the operator hears of a worker's node in the tailnet."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tailseal.tailnet import Outage, UnavailableError
from tailseal.tailnet.whois import OwnNode
from tailseal.workers.idp import node


class Tailscaled:
    """Says one thing after another of itself, the last again and again."""

    def __init__(self, *said: OwnNode | Outage) -> None:
        self.said = list(said)

    async def own_node(self) -> OwnNode:
        said = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        if isinstance(said, Outage):
            raise UnavailableError(said)
        return said


async def test_a_node_that_is_not_up_is_looked_at_often_and_one_that_is_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(node.asyncio, "sleep", sleep)
    told: list[dict[str, str]] = []
    callers: Any = Tailscaled(Outage.UNREACHABLE, OwnNode("Starting", ""), OwnNode("Running", "idp.tail.example", "7"))
    with pytest.raises(asyncio.CancelledError):
        await node.keep(callers, told.append)
    assert [each["state"] for each in told] == ["TailscaledUnreachable", "Starting", "Running", "Running"]
    assert (told[-1]["name"], told[-1]["id"]) == ("idp.tail.example", "7")
    assert waits == [0.5, 0.5, 5.0, 5.0]
