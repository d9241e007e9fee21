"""While workers of two versions run side by side, nobody is written settings that he cannot read."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from fakes.provider import NS, conditions, message, policy, provider, signing_key, world
from fakes.world import World
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.domain.bundle.model import SETTINGS_FILE, VERSION
from tailseal.domain.evidence import Replica


def settings(seen: World) -> dict[str, Any]:
    data = seen.cluster.peek(kinds.CONFIG_MAP, NS, meta.policies_config_map("corp"))["data"]
    found: dict[str, Any] = json.loads(data[SETTINGS_FILE])
    return found


def former(replica: Replica) -> Replica:
    """The replica as one of the former release, which does not say what it reads."""
    assert replica.report is not None
    return dataclasses.replace(replica, report=dataclasses.replace(replica.report, reads=1))


async def told(seen: World, *replicas: Replica) -> None:
    seen.replicas.tell(NS, "corp", replicas)
    await seen.converge()


async def test_until_the_last_replica_of_the_former_release_is_gone_its_version_is_written() -> None:
    seen = world(signing_key(), provider(tokens={"idTokenTTL": "5m"}), policy())
    await seen.converge()
    assert (settings(seen)["version"], settings(seen)["idTokenTtl"]) == (VERSION, 300)
    pods = seen.replicas.obedient(NS, "corp")
    await told(seen, former(pods[0]), *pods[1:])
    assert settings(seen)["version"] == 1
    assert "idTokenTtl" not in settings(seen)
    assert conditions(seen)["SettingsCurrent"] == ("False", "FormerWorkers")
    assert "reads settings up to version 1" in message(seen, "SettingsCurrent")
    assert conditions(seen)["Ready"][0] == "True"
    assert await seen.idle_writes() == []
    await told(seen, *pods[1:])
    assert (settings(seen)["version"], settings(seen)["idTokenTtl"]) == (VERSION, 300)
    assert "SettingsCurrent" not in conditions(seen)
    assert await seen.idle_writes() == []


async def test_who_was_not_heard_since_the_operator_started_reads_what_is_there_and_no_more() -> None:
    seen = world(signing_key(), provider(), policy())
    await seen.converge()
    pods = seen.replicas.obedient(NS, "corp")
    unheard = dataclasses.replace(pods[0], report=None)
    await told(seen, unheard, *pods[1:])
    assert settings(seen)["version"] == VERSION
    await told(seen, former(pods[0]), *pods[1:])
    await told(seen, unheard, *pods[1:])
    assert settings(seen)["version"] == 1


async def test_a_pod_that_never_was_ready_and_said_nothing_holds_up_nobody() -> None:
    seen = world(signing_key(), provider(), policy())
    await seen.converge()
    pods = seen.replicas.obedient(NS, "corp")
    await told(seen, former(pods[0]), *pods[1:])
    stuck = dataclasses.replace(pods[0], report=None, ever_ready=False, ready=False)
    await told(seen, stuck, *pods[1:])
    assert settings(seen)["version"] == VERSION
