"""A worker whose key lives in a real PKCS#11 token: it holds what it proved, and can always be told of a revocation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from fakes import bundles, exchange
from fakes import hsm as fake
from tailseal.domain import canonical, poll
from tailseal.domain.bundle.model import SIGNING_FILE, HeldKey
from tailseal.domain.keys.handle import Handle
from tailseal.workers.common.bundle.loader import Loader
from tailseal.workers.common.bundle.source import MemorySource
from tailseal.workers.common.management.staleness import Staleness
from tailseal.workers.common.management.status import Status
from tailseal.workers.common.outbound.signing import RemoteSigning

pytestmark = pytest.mark.skipif(fake.MISSING, reason=fake.REASON)


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> fake.Hsm:
    made = fake.make(tmp_path_factory.mktemp("hsm"))
    made.put(exchange.ec_key("k1"), "one")
    made.put(exchange.ec_key("other"), "other")
    return made


def volume(**changes: str) -> dict[str, bytes]:
    """The volume `signing` with the key k1 in the token."""
    said = {"module": str(fake.MODULE), "token_label": fake.TOKEN, "key_label": "one", "pin": fake.PIN} | changes
    held = [HeldKey(kid="k1", alg="ES256", file="k1.json", sign_until=exchange.NOW + 86_400)]
    files = bundles.signing("k1", held=held)
    return {SIGNING_FILE: files[SIGNING_FILE], "k1.json": Handle(public_jwk={}, **said).to_bytes()}


class Bench:
    """A loader and what its worker would do beside it."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.source, self.remote = MemorySource(), RemoteSigning(patience=5)
        self.source.put("policies", bundles.policies(exchange.record()))
        self.source.put("credentials", {})
        self.loader = Loader(self.source, clock=lambda: exchange.NOW)
        self.load(files)

    def load(self, files: dict[str, bytes]) -> None:
        self.source.put("signing", files)
        self.loader.refresh()

    async def prove(self) -> None:
        assert self.loader.snapshot is not None
        await self.remote.prove(self.loader.snapshot)

    def told(self) -> dict[str, Any]:
        """What the operator is told."""
        staleness = Staleness(lambda: exchange.NOW)
        status = Status("pod", lambda: self.loader.snapshot, staleness, lambda: exchange.NOW)
        question = poll.Question("n", exchange.NOW, {})
        answer = status.answer(poll.seal_question(question, bundles.POLL_KEY))
        assert answer is not None
        found: dict[str, Any] = json.loads(json.loads(answer)["payload"])
        return found


async def test_a_key_is_held_once_it_was_seen_to_sign(hsm: fake.Hsm) -> None:
    bench = Bench(volume())
    assert bench.loader.problems == ()
    assert (bench.told()["held"], bench.told()["problems"]) == ([], ["KeyCannotSign"])
    await bench.prove()
    assert (bench.told()["held"], bench.told()["problems"]) == (["k1"], [])


@pytest.mark.parametrize("changes", [{"key_label": "other"}, {"key_label": "nope"}, {"module": "/nowhere.so"}])
async def test_a_key_that_cannot_sign_is_not_held_and_the_log_says_why(hsm: fake.Hsm, changes: dict[str, str]) -> None:
    bench = Bench(volume(**changes))
    with structlog.testing.capture_logs() as lines:
        await bench.prove()
    assert bench.told()["held"] == []
    assert [line["event"] for line in lines] == ["key cannot sign"]
    assert fake.PIN not in json.dumps(lines)


async def test_a_revocation_lands_while_the_token_is_away(hsm: fake.Hsm) -> None:
    bench = Bench(volume(module="/nowhere.so"))
    await bench.prove()
    gone = json.loads(volume()[SIGNING_FILE]) | {"held": [], "active": {}, "defaultAlgorithm": "", "jwks": {"keys": []}}
    bench.load({SIGNING_FILE: canonical.dumps(gone)})
    assert bench.loader.snapshot is not None
    assert bench.loader.snapshot.signing.signer("", exchange.NOW) is None
    assert bench.told()["served"] == []


async def test_a_key_that_leaves_the_bundle_is_logged_out_of_the_token(hsm: fake.Hsm) -> None:
    bench = Bench(volume())
    await bench.prove()
    assert bench.loader.snapshot is not None
    signer = bench.loader.snapshot.signing.signers["k1"]
    bench.load(bundles.signing("k2"))
    await bench.prove()
    assert not signer.proven


async def test_the_same_handle_read_again_needs_no_new_proof(hsm: fake.Hsm, tmp_path: Path) -> None:
    bench = Bench(volume())
    await bench.prove()
    files = volume()
    longer = json.loads(files[SIGNING_FILE]) | {"maxAge": 301}
    bench.load({**files, SIGNING_FILE: canonical.dumps(longer)})
    assert bench.told()["held"] == ["k1"]


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"kind": "vault"}'])
async def test_a_damaged_handle_is_refused_with_the_whole_set(hsm: fake.Hsm, content: bytes) -> None:
    bench = Bench(volume())
    before = bench.loader.snapshot
    assert before is not None
    bench.load({**volume(), "k1.json": content})
    assert [problem.reason for problem in bench.loader.problems] == ["KeyUnreadable"]
    assert bench.loader.snapshot is not None
    assert bench.loader.snapshot.signing == replace(before.signing)
