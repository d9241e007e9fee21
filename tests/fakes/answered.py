"""What a store or a worker answered before it died, and whether all of that still holds."""

from __future__ import annotations

import asyncio

from tailseal.state.grants import Kind, Taken
from tailseal.state.protocol import StateUnavailable, Store

Told = dict[str, set[bytes]]
"""Digests of the codes and refresh tokens that were given, and of those of them that were used."""


def nothing() -> Told:
    """Before the first answer."""
    return {"code": set(), "won": set(), "refresh": set(), "rotated": set()}


async def used_again(store: Store, kind: Kind, digest: bytes) -> Taken | None:
    """However long it takes: a crowded machine may not connect in time."""
    async with asyncio.timeout(120):
        while True:
            try:
                return await store.use(kind, digest)
            except StateUnavailable:
                await asyncio.sleep(0.1)


async def check(store: Store, told: Told) -> None:
    """Uses up everything: all that was given is there, and nothing that was used is won again."""
    for kind, put, used in ((Kind.CODE, "code", "won"), (Kind.REFRESH, "refresh", "rotated")):
        digests = list(told[put])
        again = await asyncio.gather(*(used_again(store, kind, digest) for digest in digests))
        for digest, taken in zip(digests, again, strict=True):
            assert taken is not None, "an acknowledged write was lost"
            assert not (taken.first and digest in told[used]), "it was won twice"
