"""Logins, codes and tokens are kept alike by both stores."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from fakes.stores import Clock, Open
from tailseal.state.grants import Family, Kind, Record
from tailseal.state.limits import FAMILY, LIMITS, USED
from tailseal.state.protocol import Fault, StateUnavailable


def family(*, seconds: float = 600.0, owner: str = "userid:1", session: bytes = b"") -> Family:
    return Family(os.urandom(16), owner, "client-uid", session, os.urandom(8), time.time() + seconds)


def record(kind: Kind = Kind.CODE, *, seconds: float = 600.0, of: bytes = b"", owner: str = "") -> Record:
    return Record(kind, os.urandom(32), os.urandom(8), time.time() + seconds, of, owner)


async def test_what_was_put_is_there_exactly_as_it_was(opened: Open) -> None:
    store, login = opened(), family(session=b"s")
    kept = [record(kind, of=login.id, owner=owner) for kind in Kind for owner in ("", "userid:1 Zoë")]
    await store.put(kept, login)
    assert [await store.get(entry.kind, entry.digest) for entry in kept] == kept
    assert await store.family(login.id) == login


async def test_a_digest_stands_for_one_kind_only(opened: Open) -> None:
    store, code = opened(), record(Kind.CODE)
    await store.put([code])
    assert await store.get(Kind.REFRESH, code.digest) is None
    assert await store.use(Kind.REFRESH, code.digest) is None
    await store.remove(Kind.REFRESH, code.digest)
    assert await store.get(Kind.CODE, code.digest) == code


async def test_putting_it_again_replaces_it_and_the_last_of_a_call_counts(opened: Open) -> None:
    store, first = opened(), record(Kind.CONSENT)
    second, third = replace(first, content=b"2", owner="o"), replace(first, content=b"3", expires_at=1e12)
    await store.put([first])
    await store.put([second, third])
    assert await store.get(Kind.CONSENT, first.digest) == third


async def test_putting_what_was_used_again_makes_it_another(opened: Open) -> None:
    store, token = opened(), record(Kind.REFRESH)
    await store.put([token])
    for _ in range(2):
        taken = await store.use(Kind.REFRESH, token.digest)
        assert taken
        assert taken.first
        await store.put([token])


async def test_nothing_at_all_may_be_put(opened: Open) -> None:
    store, login = opened(), family()
    await store.put([])
    await store.put([], login)
    assert await store.family(login.id) == login


async def test_the_first_use_is_told_so_and_every_later_one_sees_what_it_was(opened: Open) -> None:
    store, code, token = opened(), record(), record(Kind.REFRESH)
    await store.put([code])
    taken = [await store.use(Kind.CODE, code.digest, [entry]) for entry in (token, record(Kind.REFRESH))]
    assert [(one.record, one.first) for one in taken if one] == [(code, True), (code, False)]
    assert await store.get(Kind.CODE, code.digest) is None
    assert await store.get(Kind.REFRESH, token.digest) == token
    assert (await store.sweep())[Kind.REFRESH] == 1


async def test_what_is_not_there_cannot_be_used_and_nothing_follows_it(opened: Open) -> None:
    store, token = opened(), record(Kind.REFRESH)
    assert await store.use(Kind.CODE, os.urandom(32), [token]) is None
    assert await store.get(Kind.REFRESH, token.digest) is None


async def test_of_two_hundred_at_once_one_is_first_and_what_follows_him_is_kept(opened: Open) -> None:
    store, code = opened(), record()
    await store.put([code])
    tokens = [record(Kind.REFRESH) for _ in range(200)]
    taken = await asyncio.gather(*(store.use(Kind.CODE, code.digest, [token]) for token in tokens))
    first = [one is not None and one.first for one in taken]
    assert sum(first) == 1
    assert all(one is not None and one.record == code for one in taken)
    kept = await asyncio.gather(*(store.get(Kind.REFRESH, token.digest) for token in tokens))
    assert [entry is not None for entry in kept] == first


async def test_what_has_expired_is_as_if_it_had_never_been(opened: Open, clock: Clock) -> None:
    store = opened()
    late, gone = record(seconds=-1.0, owner="o"), family(seconds=-1.0, session=b"s", owner="o")
    orphan, used = record(Kind.REFRESH, of=gone.id, owner="o"), record(seconds=30.0)
    await store.put([late, orphan, used], gone)
    taken = await store.use(Kind.CODE, used.digest)
    assert taken
    clock.wait(60.0)
    for entry in (late, orphan, used):
        assert await store.get(entry.kind, entry.digest) is None
        assert await store.use(entry.kind, entry.digest) is None
        assert await store.owned(entry.kind, "o") == []
        assert not await store.replace(entry, replace(entry, expires_at=1e12))
    assert await store.family(gone.id) is None
    assert await store.families("o") == []
    assert await store.end_session(b"s") == []


async def test_a_record_whose_family_was_never_begun_is_not_there(opened: Open) -> None:
    store, lost = opened(), record(of=os.urandom(16))
    await store.put([lost])
    assert await store.get(Kind.CODE, lost.digest) is None


async def test_what_belongs_to_a_family_ends_with_it_and_nothing_else_does(opened: Open) -> None:
    store, login, other = opened(), family(), family()
    code, stays = record(of=login.id), record(of=other.id)
    await store.put([code], login)
    await store.put([stays], other)
    taken = await store.use(Kind.CODE, code.digest, [token := record(Kind.REFRESH, of=login.id, owner="o")])
    assert taken
    await store.end(login.id)
    await store.end(os.urandom(16))
    assert await store.family(login.id) is None
    assert await store.use(Kind.CODE, code.digest) is None
    assert await store.use(Kind.REFRESH, token.digest) is None
    assert await store.owned(Kind.REFRESH, "o") == []
    await store.put([token])
    assert await store.get(Kind.REFRESH, token.digest) is None
    assert await store.get(Kind.CODE, stays.digest) == stays


async def test_a_family_that_ended_does_not_begin_again(opened: Open) -> None:
    store, login = opened(), family()
    await store.put([], login)
    await store.put([], login)
    await store.end(login.id)
    await store.put([], login)
    assert await store.family(login.id) is None


async def test_the_end_of_a_session_ends_what_began_in_it_and_says_what_that_was(opened: Open) -> None:
    store, session = opened(), record(Kind.SESSION)
    mine = [family(session=session.digest) for _ in range(3)]
    other, without = family(session=os.urandom(32)), family()
    for login in (*mine, other, without):
        await store.put([session], login)
    await store.end(mine[0].id)
    ended = await store.end_session(session.digest)
    assert sorted(ended, key=lambda one: one.id) == sorted(mine[1:], key=lambda one: one.id)
    assert await store.get(Kind.SESSION, session.digest) is None
    assert [await store.family(one.id) for one in (*mine, other, without)] == [None] * 3 + [other, without]
    assert await store.end_session(session.digest) == []
    assert await store.end_session(b"") == []


async def test_somebody_s_things_are_listed_the_longest_first(opened: Open) -> None:
    store = opened()
    logins = [family(seconds=100.0 * number, owner="ana") for number in (2, 3, 1)]
    tokens = [record(Kind.REFRESH, seconds=100.0 * number, owner="ana") for number in (2, 3, 1)]
    for login, token in zip(logins, tokens, strict=True):
        await store.put([token, record(Kind.ACCESS, owner="ana"), record(Kind.REFRESH)], login)
    assert await store.use(Kind.REFRESH, tokens[2].digest)
    assert await store.families("ana") == [logins[1], logins[0], logins[2]]
    assert await store.families("ana", limit=1) == [logins[1]]
    assert await store.owned(Kind.REFRESH, "ana") == [tokens[1], tokens[0]]
    assert await store.owned(Kind.REFRESH, "ana", limit=1) == [tokens[1]]
    assert await store.owned(Kind.REFRESH, "") == []
    assert await store.families("bob") == []


async def test_a_record_is_replaced_only_if_it_is_still_as_it_was(opened: Open) -> None:
    store, waiting, login = opened(), record(Kind.DEVICE), family()
    approved = replace(waiting, content=b"approved", family=login.id, owner="ana", expires_at=waiting.expires_at + 0.1)
    assert not await store.replace(waiting, approved)
    await store.put([waiting], login)
    for other in ({"content": b"x"}, {"expires_at": 1e12}, {"family": login.id}, {"owner": "bob"}):
        assert not await store.replace(replace(waiting, **other), approved)
    assert await store.replace(waiting, approved)
    assert not await store.replace(waiting, approved)
    assert await store.get(Kind.DEVICE, waiting.digest) == approved
    assert await store.use(Kind.DEVICE, waiting.digest)
    assert not await store.replace(approved, waiting)


async def test_of_fifty_that_replace_the_same_one_does(opened: Open) -> None:
    store, waiting = opened(), record(Kind.DEVICE)
    await store.put([waiting])
    wanted = [replace(waiting, content=bytes([number])) for number in range(50)]
    done = await asyncio.gather(*(store.replace(waiting, entry) for entry in wanted))
    assert sum(done) == 1
    assert await store.get(Kind.DEVICE, waiting.digest) == wanted[done.index(True)]


async def test_what_was_removed_is_gone(opened: Open) -> None:
    store, kept = opened(), record(Kind.ACCESS)
    await store.put([kept])
    await store.remove(Kind.ACCESS, kept.digest)
    await store.remove(Kind.ACCESS, kept.digest)
    assert await store.get(Kind.ACCESS, kept.digest) is None
    assert (await store.sweep())[Kind.ACCESS] == 0


async def test_a_full_kind_takes_no_more_keeps_what_it_has_and_leaves_the_others_be(opened: Open) -> None:
    store = opened(limits={**LIMITS, Kind.REFRESH: 2, FAMILY: 1})
    code, login, tokens = record(), family(), [record(Kind.REFRESH) for _ in range(2)]
    await store.put([code, *tokens], login)
    for refused in (
        store.put([record(Kind.REFRESH)]),
        store.put([record(), record(Kind.REFRESH)]),
        store.put([], family()),
        store.use(Kind.CODE, code.digest, [record(Kind.REFRESH)]),
    ):
        with pytest.raises(StateUnavailable) as error:
            await refused
        assert error.value.fault is Fault.FULL
    await store.put([record(Kind.ACCESS)])
    assert await store.get(Kind.CODE, code.digest) == code
    assert [await store.get(Kind.REFRESH, token.digest) for token in tokens] == tokens
    await store.remove(Kind.REFRESH, tokens[0].digest)
    held = await store.sweep()
    assert (held[Kind.CODE], held[Kind.REFRESH], held[Kind.ACCESS], held[FAMILY]) == (1, 1, 1, 1)
    taken = await store.use(Kind.CODE, code.digest, [record(Kind.REFRESH)])
    assert taken
    assert taken.first


async def test_a_sweep_drops_what_expired_or_ended_and_nothing_else(opened: Open) -> None:
    store = opened()
    ended, late, stands = family(), family(seconds=-1.0), family()
    used = record(of=stands.id)
    await store.put([record(Kind.REFRESH, of=ended.id) for _ in range(5)], ended)
    await store.put([record(Kind.REFRESH, of=late.id)], late)
    await store.put([used, record(Kind.REFRESH, of=stands.id), record(Kind.ACCESS, seconds=-1.0)], stands)
    await store.end(ended.id)
    assert await store.use(Kind.CODE, used.digest)
    held = await store.sweep()
    assert {name: number for name, number in held.items() if number} == {Kind.CODE: 1, Kind.REFRESH: 1, FAMILY: 1}
    again = await store.use(Kind.CODE, used.digest)
    assert again
    assert not again.first


async def test_a_family_whose_code_nobody_redeemed_goes_with_it(opened: Open, clock: Clock) -> None:
    store, left, redeemed = opened(), family(), family()
    codes = [record(of=login.id, seconds=30.0) for login in (left, redeemed)]
    for code, login in zip(codes, (left, redeemed), strict=True):
        await store.put([code], login)
    assert await store.use(Kind.CODE, codes[1].digest)
    clock.wait(60.0)
    await store.sweep()
    assert await store.family(left.id) is None
    assert await store.family(redeemed.id) == redeemed


async def test_of_its_used_records_a_family_keeps_the_last(opened: Open) -> None:
    store, login, other = opened(), family(), family()
    tokens = [record(Kind.REFRESH, of=login.id) for _ in range(USED + 6)]
    lone = record(of=other.id)
    await store.put(tokens[:1], login)
    await store.put([lone], other)
    assert await store.use(Kind.CODE, lone.digest)
    for token, following in pairwise(tokens):
        assert await store.use(Kind.REFRESH, token.digest, [following])
    held = await store.sweep()
    assert (held[Kind.REFRESH], held[Kind.CODE]) == (USED + 1, 1)
    seen = [await store.use(Kind.REFRESH, token.digest) for token in tokens[:-1]]
    assert [one is not None and not one.first for one in seen] == [False] * 5 + [True] * USED
    assert await store.get(Kind.REFRESH, tokens[-1].digest) == tokens[-1]
