"""What a writer may do to a set that others write to: each law by a table, all by two writers in bad weather."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailseal.domain.publishing import Merged, Wish, describe, merge, shown
from tailseal.domain.publishing.keyset import WRITERS
from tailseal.oauth import metadata

Merge = Callable[[bytes | None, Wish], Merged]


def key(kid: str, x: str = "", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
    return {"kid": kid, "kty": "OKP", "crv": "Ed25519", "x": x or f"x-{kid}", **more}


def body(*keys: dict[str, Any], **members: Any) -> bytes:  # noqa: ANN401 - any member
    return json.dumps({"keys": list(keys), **members}).encode()


def there(content: bytes | None) -> list[str]:
    assert content is not None
    return [entry.get("kid") for entry in json.loads(content)["keys"]]


def marked(**writers: list[str]) -> dict[str, Any]:
    return {WRITERS: writers}


def test_a_set_that_is_not_there_is_made_with_our_keys() -> None:
    merged = merge(None, Wish("us", (key("b"), key("a"))))
    assert there(merged.body) == ["a", "b"]
    assert merged.added == ("a", "b")
    assert merge(merged.body, Wish("us", (key("b"), key("a")))).body is None


def test_nothing_is_written_where_there_is_nothing_and_nothing_to_say() -> None:
    assert merge(None, Wish("us")).body is None


def test_keys_and_members_of_others_are_kept_as_they_are() -> None:
    foreign = {"kid": "f", "kty": "XYZ", "extra": [1, {"deep": None}]}
    nameless = {"kty": "EC", "x": "y"}
    merged = merge(body(foreign, nameless, note="hands off"), Wish("us", (key("a"),)))
    assert merged.body is not None
    document = json.loads(merged.body)
    assert document["keys"] == [foreign, nameless, key("a")]
    assert document["note"] == "hands off"


def test_each_writer_takes_back_only_what_it_put_there() -> None:
    present = body(key("a"), key("b"), key("f"), **marked(a=["us"], b=["them"]))
    assert there(merge(present, Wish("us")).body) == ["b", "f"]


def test_a_key_that_two_writers_share_stays_until_the_last_lets_go() -> None:
    both = merge(merge(None, Wish("us", (key("a"),))).body, Wish("them", (key("a"),))).body
    one = merge(both, Wish("us"))
    assert there(one.body) == ["a"]
    assert one.ours == frozenset()
    assert there(merge(one.body, Wish("them")).body) == []


def test_a_key_that_somebody_without_marks_put_there_is_not_ours_to_remove() -> None:
    assert merge(body(key("a")), Wish("us", (key("a"),))).body is None
    assert merge(body(key("a")), Wish("us")).body is None


def test_another_key_under_our_id_is_said_and_left_alone() -> None:
    merged = merge(body(key("a", x="other")), Wish("us", (key("a"), key("b"))))
    assert merged.conflicts == ("a",)
    assert merged.body is not None
    assert json.loads(merged.body)["keys"] == [key("a", x="other"), key("b")]
    assert shown(merged.body, (key("a"), key("b"))) == {"b"}


def test_a_key_is_not_shown_where_its_id_stands_for_another_one_too() -> None:
    assert shown(body(key("a"), key("a", x="other")), (key("a"),)) == frozenset()


def test_what_others_changed_in_our_description_of_a_key_is_repaired() -> None:
    present = body(key("a", use="enc"), **marked(a=["us"]))
    merged = merge(present, Wish("us", (key("a", use="sig"),)))
    assert merged.body is not None
    assert json.loads(merged.body)["keys"] == [key("a", use="sig")]


@pytest.mark.parametrize("marks", [{}, {"a": ["us"]}, {"a": ["them", "us"]}])
def test_a_revoked_key_goes_at_once_whoever_else_shares_it(marks: dict[str, list[str]]) -> None:
    merged = merge(body(key("a"), key("f"), **marked(**marks)), Wish("us", revoked=frozenset({"a"})))
    assert there(merged.body) == ["f"]


def test_a_key_that_we_revoked_is_left_to_a_writer_who_puts_it_back() -> None:
    merged = merge(body(key("a"), **marked(a=["them"])), Wish("us", revoked=frozenset({"a"})))
    assert merged.body is None
    assert merged.insisted == ("a",)


def test_a_place_that_is_given_up_gets_no_new_keys_and_keeps_the_promised_ones() -> None:
    present = body(key("a"), key("c"), **marked(a=["us"], c=["us"]))
    merged = merge(present, Wish("us", (key("a"), key("b")), adding=False))
    assert there(merged.body) == ["a"]
    assert merged.ours == {"a"}


@pytest.mark.parametrize(
    "present",
    [
        b"",
        b"{",
        b"[]",
        b"<html>not here</html>",
        b'{"keys": {}}',
        b'{"keys": [], "keys": []}',
        b'{"keys": [NaN]}',
        b'{"keys": [], "note": "\\ud800"}',
        b'{"keys": [], "tailseal.dev/writers": ["a"]}',
        b'{"keys": [], "tailseal.dev/writers": {"a": "us"}}',
        b'{"keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"keys": [' + b" " * 1024 * 1024 + b"]}",
    ],
    ids=range(12),
)
def test_what_cannot_be_read_whole_is_never_written_over(present: bytes) -> None:
    merged = merge(present, Wish("us", (key("a"),), frozenset({"b"})))
    assert merged.refused
    assert merged.body is None
    assert shown(present, (key("a"),)) == frozenset()


# Two writers, a store, and everything that may go wrong between them.


class LawBroken(AssertionError):  # noqa: N818 - what a referee calls out
    pass


@dataclass
class Writer:
    name: str
    ledger: dict[str, dict[str, Any]] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    read: tuple[bytes | None, int] | None = None
    planned: bytes | None = None
    put: set[str] = field(default_factory=set)
    """Keys that carry its mark in the store, as a referee saw: from then on it counts on them."""

    def wish(self) -> Wish:
        return Wish(self.name, tuple(self.ledger.values()), frozenset(self.revoked))


@dataclass
class Store:
    """A set with versions, and writers that come between each other."""

    merge: Merge
    writers: dict[str, Writer] = field(default_factory=lambda: {name: Writer(name) for name in "AB"})
    versions: list[bytes | None] = field(default_factory=lambda: [None])
    foreign: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: int = 0

    def step(self, name: str, what: str, number: int) -> None:
        getattr(self, "_" + what)(self.writers[name], number)
        self._judge()

    def settle(self) -> None:
        for _ in range(3):
            for writer in self.writers.values():
                self._read(writer, 0)
                self._write(writer, 0)
                self._judge()
        entries = {entry["kid"]: entry for entry in self._now()["keys"]}
        for writer in self.writers.values():
            for kid, wanted in writer.ledger.items():
                if entries.get(kid) != wanted:
                    raise LawBroken(f"{kid} of {writer.name} is not published in peace")
        promised = {kid for writer in self.writers.values() for kid in writer.ledger}
        if set(entries) != promised | set(self.foreign):
            raise LawBroken(f"in peace there is {sorted(entries)}, promised are {sorted(promised | set(self.foreign))}")

    def _now(self) -> dict[str, Any]:
        content = self.versions[-1]
        return json.loads(content) if content else {"keys": []}

    def _rotate(self, writer: Writer, _: int) -> None:
        self.made += 1
        writer.ledger[f"k{self.made}"] = key(f"k{self.made}")

    def _share(self, writer: Writer, number: int) -> None:
        """Both writers have the same imported key."""
        for each in self.writers.values():
            if "shared" not in each.revoked:
                each.ledger["shared"] = key("shared")

    def _retire(self, writer: Writer, number: int) -> None:
        if writer.ledger:
            kid = sorted(writer.ledger)[number % len(writer.ledger)]
            del writer.ledger[kid]
            writer.put.discard(kid)

    def _revoke(self, writer: Writer, number: int) -> None:
        alone = [kid for kid in sorted(writer.ledger) if kid != "shared"]
        if alone:
            kid = alone[number % len(alone)]
            del writer.ledger[kid]
            writer.revoked.add(kid)
            writer.put.discard(kid)

    def _guest(self, _: Writer, number: int) -> None:
        """Somebody who knows nothing of marks adds a key of his own, and keeps the rest."""
        self.foreign[f"f{number % 3}"] = key(f"f{number % 3}")
        document = self._now()
        known = {entry["kid"] for entry in document["keys"]}
        document["keys"] = [*(made for kid, made in self.foreign.items() if kid not in known), *document["keys"]]
        self.versions.append(json.dumps(document).encode())

    def _read(self, writer: Writer, number: int) -> None:
        """Fresh, or as it was some versions ago."""
        version = max(0, len(self.versions) - 1 - number % 3)
        writer.read = self.versions[version], version
        writer.planned = None

    def _fail(self, writer: Writer, _: int) -> None:
        """The read fails: nothing is known, so nothing is planned."""
        writer.read = writer.planned = None

    def _plan(self, writer: Writer, _: int) -> None:
        if writer.read is not None:
            writer.planned = self.merge(writer.read[0], writer.wish()).body

    def _write(self, writer: Writer, number: int) -> None:
        """Over the version that was read, or not at all; the answer may be lost, and so may all memory of it."""
        if writer.read is None:
            return
        if writer.planned is None:
            self._plan(writer, 0)
        if writer.planned is not None and writer.read[1] == len(self.versions) - 1:
            self.versions.append(writer.planned)
        if number % 2:
            writer.read = writer.planned = None

    def _judge(self) -> None:
        entries: dict[str, dict[str, Any]] = {}
        for entry in self._now()["keys"]:
            if entry["kid"] in entries:
                raise LawBroken(f"{entry['kid']} is there twice")
            entries[entry["kid"]] = entry
        for kid, wanted in self.foreign.items():
            if entries.get(kid) != wanted:
                raise LawBroken(f"the foreign key {kid} is gone or changed")
        for writer in self.writers.values():
            for kid in writer.put & writer.ledger.keys():
                if entries.get(kid) != writer.ledger[kid]:
                    raise LawBroken(f"{kid} of {writer.name} is gone or changed though it is promised")
            marks = self._now().get(WRITERS, {})
            writer.put |= {kid for kid in entries if writer.name in marks.get(kid, ())} & writer.ledger.keys()


OPS = ("rotate", "rotate", "share", "retire", "revoke", "guest", "read", "read", "fail", "plan", "write", "write")
HISTORIES = st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(OPS), st.integers(0, 5)), min_size=1, max_size=60)


def live(merger: Merge, history: list[tuple[str, str, int]]) -> None:
    store = Store(merger)
    for name, what, number in history:
        store.step(name, what, number)
    store.settle()


@given(HISTORIES)
@settings(max_examples=400)
def test_no_history_of_two_writers_loses_a_key_or_leaves_one(history: list[tuple[str, str, int]]) -> None:
    live(merge, history)


def _wipes(_: bytes | None, wish: Wish) -> Merged:
    """A set of one's own instead of the one that is there: how a set gets wiped."""
    return merge(None, wish)


def _takes_all(present: bytes | None, wish: Wish) -> Merged:
    """Takes back whatever it does not know."""
    document = json.loads(present) if present else {"keys": []}
    marks = {entry["kid"]: [wish.writer] for entry in document["keys"]}
    return merge(json.dumps({**document, WRITERS: marks}).encode(), wish)


def _forgets_marks(present: bytes | None, wish: Wish) -> Merged:
    """Leaves no mark, so that nobody takes anything back."""
    merged = merge(present, wish)
    if merged.body is None:
        return merged
    document = json.loads(merged.body)
    document.pop(WRITERS, None)
    return dataclasses.replace(merged, body=json.dumps(document).encode())


def _ignores_partners(present: bytes | None, wish: Wish) -> Merged:
    """Takes a shared key back though another writer still needs it."""
    if present is None:
        return merge(None, wish)
    document = json.loads(present)
    marks = document.get(WRITERS, {})
    marks = {kid: [wish.writer] if wish.writer in writers else writers for kid, writers in marks.items()}
    return merge(json.dumps({**document, WRITERS: marks}).encode(), wish)


def _keeps_revoked(present: bytes | None, wish: Wish) -> Merged:
    """Goes on publishing what was revoked."""
    return merge(present, dataclasses.replace(wish, keys=(*wish.keys, *map(key, wish.revoked)), revoked=frozenset()))


def _adds_twice(present: bytes | None, wish: Wish) -> Merged:
    """Adds without looking."""
    merged = merge(present, wish)
    document = json.loads(merged.body or present or b'{"keys": []}')
    document["keys"] += [made for made in wish.keys[:1] if made["kid"] not in merged.added]
    return dataclasses.replace(merged, body=json.dumps(document).encode())


MUTANTS = (_wipes, _takes_all, _forgets_marks, _ignores_partners, _keeps_revoked, _adds_twice)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_planner_is_caught(mutant: Merge) -> None:
    @given(HISTORIES)
    @settings(max_examples=2_000, database=None, derandomize=True, report_multiple_bugs=False)
    def lives(history: list[tuple[str, str, int]]) -> None:
        live(mutant, history)

    with pytest.raises(LawBroken):
        lives()


@pytest.mark.parametrize("value", ['"\\ud800"', "NaN", "1e999", "[" * 9000 + "]" * 9000])
def test_a_discovery_document_that_cannot_be_written_back_is_said_and_stops_nothing(value: str) -> None:
    present = f'{{"issuer": "https://i", "jwks_uri": "https://i/j", "x": {value}}}'.encode()
    found = describe(present, issuer="https://i", jwks_uri="https://i/j", keys=[{"alg": "ES256"}])
    assert (found.body, "written back" in found.conflict) == (None, True)


@pytest.mark.parametrize("logins", [False, True])
def test_verifiers_read_the_same_from_a_bucket_as_from_a_worker(logins: bool) -> None:  # noqa: FBT001 - a case
    offered = metadata.Offered("https://i.example", ["RS256", "ES256"], logins)
    of_worker = metadata.document(offered)
    keys = [{"alg": "ES256"}, {"alg": "RS256"}]
    where = {"issuer": "https://i.example", "jwks_uri": of_worker["jwks_uri"]}
    published = json.loads(describe(None, **where, keys=keys).body or b"")
    for name in ("issuer", "jwks_uri", "id_token_signing_alg_values_supported"):
        assert published[name] == of_worker[name]
    if not logins:
        assert published.items() <= of_worker.items(), "where nobody logs in there is nothing else to say"
    present = json.dumps(of_worker).encode()
    assert describe(present, **where, keys=keys).body is None, "the workers' own is left as it is"
