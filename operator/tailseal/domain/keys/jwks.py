"""JWK sets: merged, in one order, in canonical bytes, public members only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tailseal.domain import canonical

PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
"""Members that make a JWK private (RFC 7518 section 6, and ML-DSA's)."""


class JwksError(Exception):
    """The set cannot be published; names the key id, never shows a key."""


def key_set(keys: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`{"keys": [...]}` in the order of key ids.

    Raises:
        JwksError: two different keys share an id, or one has a private member.
    """
    merged: dict[str, dict[str, Any]] = {}
    for key in keys:
        kid = key.get("kid")
        if not isinstance(kid, str) or not kid:
            raise JwksError("a key has no kid")
        if PRIVATE_MEMBERS & key.keys():
            raise JwksError(f"key {kid} has a private member")
        if merged.setdefault(kid, dict(key)) != dict(key):
            raise JwksError(f"two different keys have the id {kid}")
    return {"keys": [merged[kid] for kid in sorted(merged)]}


def document(keys: Iterable[Mapping[str, Any]]) -> bytes:
    """The set as canonical JSON.

    Raises:
        JwksError: as `key_set`.
    """
    return canonical.dumps(key_set(keys))
