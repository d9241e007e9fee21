"""What the loads on the real node verify tokens with finds a key that comes too late, and one that goes too early."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest

from node.keys import KeyCache
from tailseal_dev.issuer import Issuer

NOBODY: Mapping[str, Any] = {"keys": []}


@dataclass(slots=True)
class Told(KeyCache):
    """Knows the key sets that are fetched, one after the other; the last one for ever."""

    sets: tuple[Mapping[str, Any], ...] = ()

    def _fetch(self) -> tuple[Mapping[str, Any], int]:
        first, *rest = self.sets
        self.sets = tuple(rest) or (first,)
        return first, 3600


def told(ci: Issuer, *sets: Mapping[str, Any]) -> Told:
    return Told("", Path(), ci.url, sets=sets)


def token(ci: Issuer, seconds: float = 3600) -> str:
    return ci.token("us", exp=int(time.time() + seconds))


@pytest.fixture(scope="module")
def ci() -> Any:  # noqa: ANN401 - an Issuer, while the module's tests run
    with Issuer() as issuer:
        yield issuer


def test_a_token_whose_key_is_in_the_fresh_set_too_is_verified_again(ci: Issuer) -> None:
    cache = told(ci, ci.jwks)
    cache.verify(token(ci), "us")
    assert (cache.again, cache.late) == (0, 0)
    cache.finish(patient=False)
    assert (cache.again, cache.late) == (1, 0)


def test_a_token_whose_key_is_not_yet_in_the_set_that_is_held_does_not_hold(ci: Issuer) -> None:
    with pytest.raises(jwt.PyJWTError, match=r"(?i)key"):
        told(ci, NOBODY, ci.jwks).verify(token(ci), "us")


def test_a_token_whose_key_has_left_the_fresh_set_before_it_ended_does_not_hold(ci: Issuer) -> None:
    cache = told(ci, ci.jwks, NOBODY)
    cache.verify(token(ci), "us")
    with pytest.raises(jwt.PyJWTError, match=r"(?i)key"):
        cache.finish(patient=False)


def test_a_token_is_verified_again_when_the_next_comes_and_it_is_about_to_end(ci: Issuer) -> None:
    cache = told(ci, ci.jwks, ci.jwks, NOBODY)
    first = token(ci)
    cache.verify(first, "us")
    cache._given[0] = type(cache._given[0])(first, "us", time.time())
    cache.verify(token(ci), "us")
    assert (cache.again, len(cache._given)) == (1, 1)


def test_a_token_that_has_ended_need_not_find_its_key(ci: Issuer) -> None:
    cache = told(ci, ci.jwks, NOBODY)
    former = token(ci)
    cache.verify(former, "us")
    cache._given[0] = type(cache._given[0])(former, "us", time.time() - 1)
    cache.finish(patient=True)
    assert (cache.again, cache.late) == (0, 1)
