"""Whose requests are limited as one: those of one node, however it reaches us."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import idp
from tailseal.workers.idp import callers


def scope(client: tuple[str, int] | None, forwarded: str = "", connection: Any = None) -> dict[str, Any]:  # noqa: ANN401
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return {"client": client, "headers": headers, "state": {"connection": connection or {}}}


@pytest.mark.parametrize(
    ("found", "source"),
    [
        (scope(("10.0.0.7", 1)), "10.0.0.7"),
        (scope(("10.0.0.7", 1), "100.64.0.9"), "10.0.0.7"),
        (scope(None, "100.64.0.9"), "100.64.0.9"),
        (scope(None, "100.64.0.9, 100.64.0.8"), ""),
        (scope(None), ""),
        (scope(("127.0.0.1", 1), connection={"tailseal.accepted": idp.PEOPLE["bob"]}), "100.64.0.2"),
        ({"headers": [], "client": ("10.0.0.7", 1)}, "10.0.0.7"),
    ],
)
def test_a_source_is_a_node_and_not_the_socket_that_all_share(found: dict[str, Any], source: str) -> None:
    assert callers.source_of(found) == source
