"""A decision explained afterwards by the replica that took it, over its socket, by the command that people run."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from fakes.exchange import FOREIGN, JWT_TYPE, NOW, SPEC, claims, form, record, spec, token
from fakes.sts import House, post, snapshot
from tailseal.api.times import format_time
from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.index import PolicyIndex
from tailseal.workers.common.management import inside
from tailseal.workers.exchange.explaining import explaining
from tailseal.workers.exchange.hindsight import MOST_POLICIES, Hindsight

PROGRAM = str(Path(sys.executable).with_name("tailseal"))
STRANGER = form(token(claims(repository_id="43", email="ann@corp.example")), scope="read")


@pytest.fixture
def house() -> House:
    return House()


async def decided(house: House, body: bytes | None = None, **question: object) -> dict[str, Any]:
    """What is told of the decision on one request."""
    async with house.client() as client:
        await post(client, body)
    return told(house, decision=f"d{house.ids}", **question)


def told(house: House, **question: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Hindsight(house.made).answer(orjson.dumps(question)))
    return found


async def test_a_refusal_is_retold_with_what_stood_in_the_way(house: House) -> None:
    document = await decided(house, STRANGER)
    assert document["decision"]["reason"] == "NoPolicyMatches"
    assert document["signature"] == "checked"
    assert document["request"] == {"scopes": ["read"]}
    assert document["nearestMiss"] == "identity/ci"
    failure = document["policies"][0]["firstFailure"]
    assert (failure["claim"], failure["outcome"], failure["expected"]) == ("repository_id", "mismatch", 'exact: "42"')
    assert document["wouldNowGrant"] is False


async def test_a_grant_is_retold_as_well(house: House) -> None:
    document = await decided(house)
    assert (document["decision"]["policy"], document["decision"]["grant"]) == ("identity/ci", "api")
    assert (document["nearestMiss"], document["wouldNowGrant"]) == (None, True)
    assert document["policyGeneration"] == {"then": 3, "now": 3}
    assert all(check["outcome"] == "match" for check in document["policies"][0]["checks"])


async def test_a_malformed_actor_token_is_told_with_the_subject_it_came_with(house: House) -> None:
    actors = [{"oidc": {"issuer": FOREIGN, "subject": {"exact": "robot"}}}]
    house.current = snapshot(spec=SPEC | {"actors": actors}, serial=2)
    document = await decided(house, form(token(), actor_token="x.y.z", actor_token_type=JWT_TYPE, scope="read"))
    assert document["decision"]["reason"] == "ActorTokenMalformed"
    assert document["request"] == {"scopes": ["read"]}
    assert [entry["outcome"] for entry in document["policies"]] == ["ActorNotTrusted"]
    assert document["wouldNowGrant"] is False
    house.current = snapshot(spec=SPEC, serial=3)
    assert [entry["outcome"] for entry in told(house, decision="d1")["policies"]] == ["ActorNotAllowed"]


async def test_what_is_not_the_policys_business_is_not_told(house: House) -> None:
    text = json.dumps(await decided(house, STRANGER))
    assert "ann@" not in text
    assert not [part for part in token(claims(repository_id="43")).split(".") if part in text]


async def test_a_policy_that_changed_since_is_said_to_have(house: House) -> None:
    async with house.client() as client:
        await post(client)
        house.current = snapshot(spec=spec(subject={"exact": "somebody else"}), serial=2)
        assert told(house, decision="d1")["wouldNowGrant"] is False
        house.current = snapshot(spec=SPEC, serial=3)
        object.__setattr__(house.current, "index", PolicyIndex())
        assert told(house, decision="d1")["policyGeneration"]["now"] is None


@pytest.mark.parametrize(
    "body", [b"x=1", b"", form("nonsense"), form("a.b.c"), form(token(claims(iss="https://no.example")))]
)
async def test_what_was_no_token_of_anybody_has_its_reason_and_no_policies(house: House, body: bytes) -> None:
    document = await decided(house, body)
    assert document["decision"]["reason"]
    assert document["signature"] == "not checked"
    assert document["policies"] == []


async def test_one_namespace_may_be_asked_for_and_many_policies_are_cut_short(house: House) -> None:
    kept = snapshot()
    policies = [compile_policy(record(SPEC, name=f"p{n:03}"), kept.settings) for n in range(MOST_POLICIES + 5)]
    object.__setattr__(kept, "index", PolicyIndex(policies))
    house.current = kept
    document = await decided(house)
    assert (len(document["policies"]), document["policiesOmitted"]) == (MOST_POLICIES, 5)
    assert told(house, decision="d1", namespace="elsewhere")["policies"] == []


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b"null", b'{"decision": "d99"}', b"\xff"])
async def test_a_question_that_makes_no_sense_is_told_so(house: House, line: bytes) -> None:
    house.runtime()
    assert "error" in json.loads(Hindsight(house.made).answer(line))


async def answers(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def serving(house: House, path: Path) -> AsyncIterator[None]:
    task = asyncio.create_task(explaining(house.made, path)())
    try:
        async with asyncio.timeout(60):
            while not await answers(path):  # noqa: ASYNC110 - another process would wait just so
                await asyncio.sleep(0.01)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "explain", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_command_asks_the_replica_beside_it(house: House, tmp_path: Path) -> None:
    path = tmp_path / "explain.sock"
    async with house.client() as client:
        await post(client, STRANGER)
        await post(client)
    async with serving(house, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        code, out, _ = await run("--decision", "d1", "--socket", str(path))
        assert code == 1
        assert out.startswith("REFUSED: NoPolicyMatches\n")
        assert "identity/ci: no: NoPolicyMatches   <- nearest miss" in out
        assert 'expected  exact: "42"' in out
        assert f"time        {format_time(NOW)}\n" in out
        code, out, _ = await run("--decision", "d2", "--socket", str(path), "-o", "json")
        assert (code, json.loads(out)["kind"], json.loads(out)["decision"]["grant"]) == (
            0,
            "DecisionExplanation",
            "api",
        )
        code, _, err = await run("--decision", "d3", "--socket", str(path))
        assert (code, "does not know the decision" in err, "Traceback" in err) == (1, True, False)
    assert not path.exists()
    code, _, err = await run("--decision", "d1", "--socket", str(path))
    assert (code, "kubectl exec" in err) == (3, True)


async def test_a_socket_left_behind_is_replaced_and_one_that_cannot_be_made_stops_nobody(
    house: House, tmp_path: Path
) -> None:
    house.runtime()
    path = tmp_path / "explain.sock"
    inside._bind(path).close()
    async with serving(house, path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"decision": "d9"}\n')
        assert b"error" in await reader.read()
        writer.close()
    await explaining(house.made, tmp_path / "absent" / "explain.sock")()
