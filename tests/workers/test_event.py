"""The events of the audit log: CloudEvents in JSON that say what was decided, and hold no token."""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import Any

import httpx
import orjson
import pytest

from fakes.exchange import NOW, OURS, claims, form, token
from fakes.sts import House, post
from tailseal.workers.common.telemetry.audit import Audit
from tailseal.workers.common.telemetry.event import Origin, event

CONTEXT = {"specversion", "id", "source", "type", "time", "datacontenttype", "subject", "data"}


@pytest.fixture
def house() -> House:
    return House()


def written(found: object) -> dict[str, Any]:
    """The event as a collector reads it."""
    reader, writer = os.pipe()
    try:
        Audit(writer).write(found)  # type: ignore[arg-type]
        line: dict[str, Any] = orjson.loads(os.read(reader, 10_000))
    finally:
        os.close(reader)
        os.close(writer)
    return line


async def asked(house: House, body: bytes | None = None) -> tuple[httpx.Response, dict[str, Any]]:
    async with house.client() as client:
        answer = await post(client, body)
    return answer, written(house.audit.events[-1])


async def test_a_grant_is_an_event_that_says_by_what_and_to_whom(house: House) -> None:
    _, line = await asked(house, form(token(), scope="read"))
    assert set(line) == CONTEXT
    assert {name: line[name] for name in CONTEXT - {"data", "time"}} == {
        "specversion": "1.0",
        "id": "d1",
        "source": f"{OURS}#sts",
        "type": "dev.tailseal.exchange.granted",
        "datacontenttype": "application/json",
        "subject": "repo:acme/app",
    }
    data = line["data"]
    assert len(data.pop("tokenHash")) == 64
    assert 0 < data.pop("latencySeconds") < 60
    assert data == {
        "caller": "192.0.2.7",
        "issuer": "https://ci.example",
        "policy": "identity/ci",
        "generation": 3,
        "grant": "api",
        "claims": ["sub", "repository_id"],
        "scope": "read",
        "audience": ["https://api.corp.example"],
        "kid": "k1",
        "expiresIn": 300,
        "provider": "identity/corp",
        "endpoint": "token",
    }


async def test_a_refusal_names_its_reason_and_the_policy_that_came_nearest(house: House) -> None:
    answer, line = await asked(house, form(token(), scope="admin"))
    assert (line["type"], line["id"]) == ("dev.tailseal.exchange.refused", answer.json()["decision_id"])
    data = line["data"]
    assert (data["reason"], data["policy"], data["generation"]) == ("ScopeNotGranted", "identity/ci", 3)
    assert "claims" not in data


async def test_who_was_never_verified_is_no_subject(house: House) -> None:
    _, line = await asked(house, form(token(claims(iss="https://nobody.example"))))
    assert set(line) == CONTEXT - {"subject"}


async def test_without_a_bundle_and_with_a_fault_of_ours_it_is_still_an_event(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.current, house.withheld = None, "BundleMissing"
    _, line = await asked(house)
    assert (line["source"], line["type"]) == ("#sts", "dev.tailseal.exchange.error")
    assert (line["data"]["provider"], line["data"]["reason"]) == ("", "BundleMissing")
    house = House()

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("tailseal.tokens.exchange.present", broken)
    answer, line = await asked(house)
    assert answer.status_code == 500
    assert (line["type"], line["data"]["reason"]) == ("dev.tailseal.exchange.error", "InternalError")
    assert line["data"]["caller"] == "192.0.2.7"


@pytest.mark.parametrize("moment", [NOW, 0, 1.5, 1_790_000_000.123456])
def test_the_time_is_rfc_3339_in_utc(moment: float) -> None:
    found = event({"time": moment, "decision": "d", "result": "granted"}, Origin("#sts", "token"), 0.0)
    text = written(found)["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text)
    assert datetime.fromisoformat(text).timestamp() == pytest.approx(moment)


def test_the_core_keeps_its_fields_as_they_were() -> None:
    fields = {"time": 1.0, "decision": "d", "result": "granted", "subject": "s"}
    event(fields, Origin("#sts", "token"), 0.0)
    assert fields == {"time": 1.0, "decision": "d", "result": "granted", "subject": "s"}
