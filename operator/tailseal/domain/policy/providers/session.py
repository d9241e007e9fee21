"""Session: tokens that this provider issued itself, for services that exchange what they were sent."""

from __future__ import annotations

from typing import Final

from tailseal.api.trustpolicy import SessionSource
from tailseal.domain.policy.general import General
from tailseal.domain.policy.providers.block import Block, Either
from tailseal.domain.policy.providers.granted import demand

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
"""What keys of ours are made for."""

CLIENT: Final = "client_id"
"""Every token of ours that stands for a session names the client it was issued to (RFC 9068 section 2.2)."""


def general(block: SessionSource, origin: str) -> General:
    """The general form of a `session` block.

    Args:
        block: from the manifest.
        origin: where it stands.
    """
    rules = Block(origin)
    if block.clients:
        rules.like((CLIENT,), Either("clients", block.clients))
    else:
        rules.present("clients", (CLIENT,))
    rules.like(("username",), Either("users", block.users))
    rules.any_like(("groups",), Either("groups", block.groups))
    findings = demand(rules, block.capability, origin)
    return General(
        origin=origin,
        issuer="",
        rules=rules.rules,
        algorithms=ALGORITHMS,
        audiences=block.audiences,
        findings=(*findings, *rules.findings),
    )
