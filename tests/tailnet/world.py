"""The tailnet of the tests: an identity provider, two people, a machine, and what the policy file grants them."""

from __future__ import annotations

from typing import Any

from tailseal_dev.tailnet.net import Member, User

CAPABILITY = "tailseal.dev/cap/idp"
USERS = (User("alice", "alice@example.com", "Alice Ä"), User("bob"))
MEMBERS = (
    Member("idp", tags=("tag:idp",)),
    Member("alice", "alice"),
    Member("bob", "bob"),
    Member("ci", tags=("tag:ci",)),
)


def login_to(*clients: str, note: str = "größe") -> dict[str, Any]:
    """A rule of schema v1."""
    resources = [f"client/{client}" for client in clients]
    return {"v": 1, "allow": [{"action": ["login"], "resource": resources}], "claims": {"groups": [note]}}


def policy(*rules: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Everybody reaches the provider; only who is in `group:eng` (alice) is granted these rules."""
    provider = ["tag:idp"]
    return {
        "groups": {"group:eng": ["alice@example.com"]},
        "tagOwners": {"tag:idp": ["alice@example.com"], "tag:ci": ["alice@example.com"]},
        "grants": [
            {"src": ["autogroup:member", "tag:ci"], "dst": provider, "ip": ["tcp:80", "tcp:8080"]},
            *({"src": ["group:eng"], "dst": provider, "app": {CAPABILITY: [rule]}} for rule in rules),
        ],
    }
