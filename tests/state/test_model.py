"""Whatever is asked in whatever order, both stores answer as two dictionaries and a clock would."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from fakes.grants import ModelGrants
from fakes.stores import postgres_store
from tailseal.state.grants import Family, Kind, Record
from tailseal.state.protocol import Store
from tailseal.state.sqlite import FILE, SQLiteStore
from tailseal_dev.postgres import PostgresServer

kinds = st.sampled_from([Kind.CODE, Kind.REFRESH, Kind.SESSION])
digests = st.sampled_from([bytes([number]) * 32 for number in range(2)])
identifiers = st.sampled_from([b"", *(bytes([number]) * 16 for number in range(3))])
owners = st.sampled_from(["", "ana", "bob"])
seconds = st.sampled_from([-5.0, 10.0, 20.5, 30.0, 1e12])
contents = st.sampled_from([b"", b"\x00one", b"two"])

Opened = Callable[[ModelGrants], tuple[Store, Callable[[], Awaitable[None]]]]
T = TypeVar("T")
Given = tuple[Kind, bytes, bytes, float, bytes, str]
records = st.lists(st.tuples(kinds, digests, contents, seconds, identifiers, owners), max_size=4)


class Asked(RuleBasedStateMachine):
    """Asks the store and the model alike.

    Args:
        opened: opens the store for a clock, which it is told when it changes.
    """

    def __init__(self, opened: Opened) -> None:
        super().__init__()
        self.runner, self.model, self.opened = asyncio.Runner(), ModelGrants(), opened

    @initialize()
    def begin(self) -> None:
        self.store, self.moved = self.opened(self.model)
        self.runner.run(self.moved())

    def do(self, question: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(question)

    def made(self, given: Sequence[Given]) -> list[Record]:
        return [
            Record(kind, digest, content, self.model.now + lasts, family, owner)
            for kind, digest, content, lasts, family, owner in given
        ]

    @rule(given=records)
    def put(self, given: Sequence[Given]) -> None:
        made = self.made(given)
        self.do(self.store.put(made))
        self.model.put(made)

    @rule(given=records, identifier=identifiers, owner=owners, session=st.just(b"") | digests, lasts=seconds)
    def begin_family(self, given: Sequence[Given], identifier: bytes, owner: str, session: bytes, lasts: float) -> None:
        family = Family(identifier or b"other", owner, "client", session, b"content", self.model.now + lasts)
        made = self.made(given)
        self.do(self.store.put(made, family))
        self.model.put(made, family)

    @rule(kind=kinds, digest=digests)
    def get(self, kind: Kind, digest: bytes) -> None:
        assert self.do(self.store.get(kind, digest)) == self.model.get(kind, digest)

    @rule(kind=kinds, digest=digests, given=records)
    def use(self, kind: Kind, digest: bytes, given: Sequence[Given]) -> None:
        following = [record for record in self.made(given) if (record.kind, record.digest) != (kind, digest)]
        assert self.do(self.store.use(kind, digest, following)) == self.model.use(kind, digest, following)

    @rule(kind=kinds, digest=digests, content=contents, owner=owners, identifier=identifiers, changed=st.booleans())
    def replace(
        self, kind: Kind, digest: bytes, content: bytes, owner: str, identifier: bytes, *, changed: bool
    ) -> None:
        there = self.model.get(kind, digest) or self.made([(kind, digest, b"", 10.0, b"", "")])[0]
        former = replace(there, content=b"otherwise") if changed else there
        record = replace(there, content=content, owner=owner, family=identifier)
        assert self.do(self.store.replace(former, record)) is self.model.replace(former, record)

    @rule(kind=kinds, digest=digests)
    def remove(self, kind: Kind, digest: bytes) -> None:
        self.do(self.store.remove(kind, digest))
        self.model.remove(kind, digest)

    @rule(kind=kinds, owner=owners)
    def list_owned(self, kind: Kind, owner: str) -> None:
        found = self.do(self.store.owned(kind, owner))
        assert sorted(found, key=lambda one: one.digest) == sorted(
            self.model.owned(kind, owner), key=lambda one: one.digest
        )
        assert [one.expires_at for one in found] == sorted((one.expires_at for one in found), reverse=True)

    @rule(identifier=identifiers, owner=owners)
    def look_at_families(self, identifier: bytes, owner: str) -> None:
        assert self.do(self.store.family(identifier)) == self.model.family(identifier)
        found = self.do(self.store.families(owner))
        assert sorted(found, key=lambda one: one.id) == sorted(self.model.families(owner), key=lambda one: one.id)

    @rule(identifier=identifiers)
    def end(self, identifier: bytes) -> None:
        self.do(self.store.end(identifier))
        self.model.end(identifier)

    @rule(session=st.just(b"") | digests)
    def end_session(self, session: bytes) -> None:
        found = self.do(self.store.end_session(session))
        assert sorted(found, key=lambda one: one.id) == sorted(self.model.end_session(session), key=lambda one: one.id)

    @rule(passed=st.sampled_from([1.0, 10.0, 15.0]))
    def wait(self, passed: float) -> None:
        self.model.now += passed
        self.runner.run(self.moved())

    @rule()
    def sweep(self) -> None:
        held = self.do(self.store.sweep())
        assert {name: number for name, number in held.items() if number} == {
            name: number for name, number in self.model.sweep().items() if number
        }

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.do(self.store.aclose())
        self.runner.close()


def run(opened: Opened, examples: int) -> None:
    run_state_machine_as_test(
        lambda: Asked(opened), settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )


def test_sqlite_answers_as_the_model_does() -> None:
    number = count()

    async def nothing() -> None: ...

    with tempfile.TemporaryDirectory() as folder:

        def opened(model: ModelGrants) -> tuple[Store, Callable[[], Awaitable[None]]]:
            place = Path(folder) / str(next(number))
            place.mkdir()
            return SQLiteStore(place / FILE, clock=lambda: model.now), nothing

        run(opened, 60)


def test_postgresql_answers_as_the_model_does(postgres: PostgresServer) -> None:
    url = postgres.timed()

    def opened(model: ModelGrants) -> tuple[Store, Callable[[], Awaitable[None]]]:
        store = postgres_store(url, patience=20.0)
        emptied = False

        async def moved() -> None:
            nonlocal emptied
            if not emptied:
                await store._database.ask(lambda c: c.execute("TRUNCATE tailseal_record, tailseal_family"))
                emptied = True
            await store._database.ask(lambda c: c.execute("UPDATE timed.clock SET at = $1", model.now))

        return store, moved

    run(opened, 30)
