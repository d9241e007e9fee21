"""Scopes: a request narrows a grant, and what Tailscale's scopes allow of each other never widens one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.domain import scopes

WORDS = ["all", "all:read", "devices:core", "devices:core:read", "dns", "dns:read", "logs:network:read", "devices"]
SOME = st.lists(st.sampled_from(WORDS), unique=True, max_size=5).map(tuple)


def power(scope: str) -> frozenset[str]:
    """Everything that a scope lets its bearer do, spelled out: a plain list, to hold the code against."""
    finest = [word for word in WORDS if not word.startswith("all")]
    if scope == "all":
        return frozenset([*finest, "all", "all:read", *(f"{word}:read" for word in finest)])
    if scope == "all:read":
        return frozenset(["all:read", *(word for word in finest if word.endswith(":read")), "devices:read"])
    return frozenset([scope] if scope.endswith(":read") else [scope, f"{scope}:read"])


@pytest.mark.parametrize(
    ("granted", "requested", "given"),
    [
        (("devices:core",), ("devices:core:read",), ("devices:core:read",)),
        (("devices:core", "dns"), ("dns:read", "devices:core"), ("devices:core", "dns:read")),
        (("devices:core", "devices:core:read"), ("devices:core:read",), ("devices:core:read",)),
        (("all",), ("dns", "devices:core:read"), ("dns", "devices:core:read")),
        (("all",), ("all:read",), ("all:read",)),
        (("all:read",), ("dns:read",), ("dns:read",)),
        (("devices:core",), (), ("devices:core",)),
        (("all:read",), ("dns",), None),
        (("all:read",), ("all",), None),
        (("devices:core:read",), ("devices:core",), None),
        (("devices",), ("devices:core:read",), None),
        (("devices:core",), ("devices:corefoo:read",), None),
        (("devices",), ("devices:read",), ("devices:read",)),
        (("dns",), ("dns:read:read",), None),
        (("dns",), ("DNS:read",), None),
        ((), ("dns",), None),
    ],
)
def test_what_a_tailscale_scope_allows_can_be_asked_for_by_name(
    granted: tuple[str, ...], requested: tuple[str, ...], given: tuple[str, ...] | None
) -> None:
    assert scopes.covers_tailscale(granted, requested) is (given is not None)
    if given is not None:
        assert scopes.narrow_tailscale(granted, requested) == given


@given(SOME, SOME)
def test_narrowing_never_widens_and_gives_all_that_was_asked_for(
    granted: tuple[str, ...], requested: tuple[str, ...]
) -> None:
    before: frozenset[str] = frozenset().union(*map(power, granted))
    wanted: frozenset[str] = frozenset().union(*map(power, requested))
    covered = scopes.covers_tailscale(granted, requested)
    assert covered is (wanted <= before)
    if covered and requested:
        given = scopes.narrow_tailscale(granted, requested)
        assert set(given) == set(requested)
        assert len(given) == len(set(given))
        assert frozenset().union(*map(power, given)) == wanted


@given(SOME, SOME, SOME)
def test_what_bounds_allow_allows_no_more_through_any_grant(
    allowed: tuple[str, ...], granted: tuple[str, ...], requested: tuple[str, ...]
) -> None:
    within = all(scopes.allowed_tailscale(scope, allowed.__contains__) for scope in granted)
    if within and requested and scopes.covers_tailscale(granted, requested):
        assert scopes.covers_tailscale(allowed, requested)


@pytest.mark.parametrize(
    ("granted", "requested", "covered"),
    [(("a", "b"), ("a",), True), (("a",), ("a:read",), False), (("all",), ("a",), False), (("a",), (), True)],
)
def test_other_scopes_are_words_and_mean_nothing_to_each_other(
    granted: tuple[str, ...], requested: tuple[str, ...], *, covered: bool
) -> None:
    assert scopes.covers(granted, requested) is covered
