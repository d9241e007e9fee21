"""Narrowing of scopes and tags: what was asked for must be a part of what is granted.

Words are compared as they are. Tailscale's own implications between scopes (`devices:core` allows what
`devices:core:read` allows) are not applied: a grant lists every scope that may be asked for.
"""

from __future__ import annotations

from collections.abc import Collection


def covers(granted: Collection[str], requested: Collection[str]) -> bool:
    """Whether every requested word is granted; asking for nothing in particular always is."""
    return not requested or set(granted).issuperset(requested)


def narrow(granted: tuple[str, ...], requested: Collection[str]) -> tuple[str, ...]:
    """The granted words that were asked for, in the grant's order; all of them where nothing was asked for."""
    if not requested or (len(granted) == 1 and granted[0] in requested):
        return granted
    return tuple([word for word in granted if word in requested])
