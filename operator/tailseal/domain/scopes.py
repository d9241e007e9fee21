"""Narrowing of scopes and tags: what was asked for must be a part of what is granted.

Words are compared as they are, but for Tailscale's scopes, where one allows what another does: `all` everything,
`X` what `X:read` does, `all:read` every `X:read`. Its older, coarser names (`devices`, `acls`) are words like any
other: what of the finer ones they allow is not the same everywhere, so nothing is taken for granted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

_ALL: Final = "all"
_READ: Final = ":read"


def covers(granted: Collection[str], requested: Collection[str]) -> bool:
    """Whether every requested word is granted; asking for nothing in particular always is."""
    return not requested or set(granted).issuperset(requested)


def narrow(granted: tuple[str, ...], requested: Collection[str]) -> tuple[str, ...]:
    """The granted words that were asked for, in the grant's order; all of them where nothing was asked for."""
    if not requested or (len(granted) == 1 and granted[0] in requested):
        return granted
    return tuple([word for word in granted if word in requested])


def allowing(scope: str) -> tuple[str, ...]:
    """The Tailscale scopes of which each allows all that this one does; itself first."""
    if not scope.endswith(_READ):
        return (scope, _ALL)
    return (scope, scope.removesuffix(_READ), _ALL + _READ, _ALL)


def covers_tailscale(granted: Collection[str], requested: Iterable[str]) -> bool:
    """`covers` for Tailscale's scopes."""
    return all(any(wider in granted for wider in allowing(scope)) for scope in requested)


def narrow_tailscale(granted: tuple[str, ...], requested: Collection[str]) -> tuple[str, ...]:
    """`narrow` for Tailscale's scopes: to the words that were asked for, whichever granted ones allow them."""
    if not requested:
        return granted
    same = narrow(granted, requested)
    return (*same, *(scope for scope in requested if scope not in same and covers_tailscale(granted, (scope,))))


def allowed_tailscale(scope: str, allows: Callable[[str], bool]) -> bool:
    """Whether a rule of bounds allows the scope, be it by a wider one.

    Args:
        scope: of a grant.
        allows: whether the rule allows a word as it stands.
    """
    return any(allows(wider) for wider in allowing(scope))
