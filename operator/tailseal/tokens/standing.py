"""What people are granted now who logged in for tokens of ours: for policies, and to explain decisions afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from tailseal.domain import capability
from tailseal.domain.capability import Capabilities
from tailseal.domain.policy.providers.granted import CAPABILITIES
from tailseal.domain.policy.source import KeySource
from tailseal.domain.policy.trust import Verified
from tailseal.tokens import verify
from tailseal.tokens.compact import Compact, encode

MOST_KEPT: Final = 8192
"""Bytes of a capability, as JSON, that are kept for explanations."""


class Standing(NamedTuple):
    """What the tailnet says now of a person whose login goes on.

    Args:
        granted: what the provider's capability allows them.
        login: name that other people know them by; empty: it is a machine.
        values: of the capability, as they came.
    """

    granted: Capabilities
    login: str
    values: tuple[Any, ...]


Standings = Mapping[str, Standing]
"""By `jti` of the tokens that they logged in for."""


def under(source: KeySource, token: Compact, standings: Standings | None) -> Verified:
    """The token as policies see it, if the source verifies it; what was granted stands beside claims of ours alone."""
    claims = token.payload
    if source.kind == "session" and (found := _found(token, standings)) is not None:
        claims = {**claims, CAPABILITIES: found.granted}
    return Verified(source, token.alg, verify.audiences(claims), claims)


def kept(token: Compact, standings: Standings | None) -> Compact:
    """The token with what its explanation needs beside it."""
    if (found := _found(token, standings)) is None:
        return token
    beside = orjson.dumps({"login": found.login, "values": found.values})
    if len(beside) > MOST_KEPT:
        return token
    said = orjson.dumps({**token.payload, CAPABILITIES: orjson.Fragment(beside)})
    return token._replace(signing_input=b"." + encode(said))


def recalled(claims: Mapping[str, Any], source: KeySource) -> Mapping[str, Any]:
    """The claims of a decision that is to be explained, as policies of the source saw them; the inverse of `kept`."""
    beside = claims.get(CAPABILITIES)
    if source.kind != "session" or not isinstance(beside, dict) or not isinstance(beside.get("values"), list):
        return claims
    return {**claims, CAPABILITIES: capability.read(beside["values"], str(beside.get("login", "")))}


def _found(token: Compact, standings: Standings | None) -> Standing | None:
    return standings.get(str(token.payload.get("jti"))) if standings else None
