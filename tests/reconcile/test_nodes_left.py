"""Nodes that no replica is any more, by the Secrets that they leave: who is named, and who only stands still."""

from __future__ import annotations

import base64

import pytest

from fakes import numbered
from fakes.numbered import POSTGRES
from fakes.provider import NS, conditions, message, provider, secret
from fakes.world import World
from tailseal.cluster import kinds
from tailseal.cluster.port import Object

NODE = {"mode": "Serve", "auth": {"authKeySecretRef": {"name": "ts"}}}
ON_A_DISK = NODE | {"volume": {"size": "64Mi"}}
NAME = "corp-idp-0-tailnet"
PLANTED = {"_machinekey": "cGxhbnRlZC1ub2RlLWtleQ==", "device_id": "bjE3UExBTlRFRENOVFJM"}
ID = "id n17PLANTEDCNTRL"
IDS = ("Nw==", "OA==")
"""Of two nodes, as they write them."""


def on_a_tailnet(replicas: int = 1) -> World:
    return numbered.on_a_tailnet(tailnet=NODE, storage=POSTGRES, idp={"replicas": replicas})


def named(seen: World, number: int, fqdn: str, **other: str) -> None:
    """The node has written who it is and what it is called."""

    def write(obj: Object) -> None:
        obj["data"] = PLANTED | other | {"device_fqdn": base64.b64encode(fqdn.encode()).decode()}

    seen.cluster.user_edit(kinds.SECRET, NS, f"corp-idp-{number}-tailnet", write)


@pytest.mark.parametrize(
    ("fqdn", "node"),
    [
        ("corp-1-1.tail.example.", "once called corp-1-1.tail.example"),
        ("", "of a name that is not known"),
        ("x\ny: planted", "of a name that is not known"),
    ],
    ids=["by its own words", "silent", "babbling"],
)
async def test_the_node_of_a_replica_that_goes_is_named_until_its_secret_is_deleted_or_it_comes_back(
    fqdn: str, node: str
) -> None:
    for ends in ("deleted", "back"):
        seen = on_a_tailnet(2)
        await seen.converge()
        named(seen, 1, fqdn)
        assert "NodesLeft" not in conditions(seen)
        seen.cluster.user_apply(provider(tailnet=NODE, storage=POSTGRES, idp={"replicas": 1}))
        await seen.run_for(6)
        assert conditions(seen)["NodesLeft"] == ("True", "NodesKept")
        assert message(seen, "NodesLeft").startswith(
            f"no replica is the node {node} ({ID}, Secret corp-idp-1-tailnet) any"
        )
        assert seen.cluster.peek(kinds.SECRET, NS, "corp-idp-1-tailnet")["data"].items() >= PLANTED.items()
        for kind in (kinds.ROLE, kinds.ROLE_BINDING, kinds.SERVICE_ACCOUNT):
            assert not seen.cluster.exists(kind, NS, "corp-idp-1")
        if ends == "deleted":
            seen.cluster.user_delete(kinds.SECRET, NS, "corp-idp-1-tailnet")
        else:
            seen.cluster.user_apply(provider(tailnet=NODE, storage=POSTGRES, idp={"replicas": 2}))
        await seen.run_for(6)
        assert "NodesLeft" not in conditions(seen)
        assert seen.cluster.exists(kinds.SECRET, NS, "corp-idp-1-tailnet") == (ends == "back")


async def test_nodes_that_left_the_tailnet_or_keep_their_identity_elsewhere_now_are_named_too() -> None:
    seen = on_a_tailnet()
    await seen.converge()
    named(seen, 0, "")
    seen.cluster.user_apply(provider(tailnet=ON_A_DISK, storage=POSTGRES))
    await seen.run_for(6)
    assert f"node of a name that is not known ({ID}, Secret corp-idp-0-tailnet) any" in message(seen, "NodesLeft")
    seen.cluster.user_apply(provider(storage=POSTGRES))
    await seen.run_for(6)
    assert f"({ID}, Secret corp-idp-0-tailnet), of a name that is not known (PersistentVolumeClaim " in message(
        seen, "NodesLeft"
    )
    assert conditions(seen)["Ready"] == ("True", "Ready")


async def test_where_nobody_logs_in_any_more_all_nodes_are_left_behind_until_that_is_back() -> None:
    seen = on_a_tailnet()
    await seen.converge()
    named(seen, 0, "corp.tail.example.")
    seen.cluster.user_apply(provider(tailnet=NODE, storage=POSTGRES, idp={"enabled": False}))
    await seen.run_for(6)
    assert not seen.cluster.exists(kinds.DEPLOYMENT, NS, "corp-idp-0")
    assert f"node once called corp.tail.example ({ID}, Secret {NAME}) any" in message(seen, "NodesLeft")
    seen.cluster.user_apply(provider(tailnet=NODE, storage=POSTGRES))
    await seen.run_for(6)
    assert "NodesLeft" not in conditions(seen)


async def test_a_node_that_never_joined_is_not_looked_for_in_the_tailnet() -> None:
    seen = on_a_tailnet(2)
    await seen.converge()
    seen.cluster.user_apply(provider(tailnet=NODE, storage=POSTGRES, idp={"replicas": 1}))
    await seen.run_for(6)
    assert seen.cluster.exists(kinds.SECRET, NS, "corp-idp-1-tailnet")
    assert "NodesLeft" not in conditions(seen)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_nodes_that_stand_still_are_not_left_behind_and_come_back(replicas: int) -> None:
    seen = on_a_tailnet(replicas)
    await seen.converge()
    for number in range(replicas):
        named(seen, number, f"corp-{number}.tail.example.", device_id=IDS[number])
    for number in (0, replicas):
        seen.cluster.user_apply(provider(tailnet=NODE, storage=POSTGRES, idp={"replicas": number}))
        await seen.run_for(6)
        assert "NodesLeft" not in conditions(seen)
    for number in range(replicas):
        kept = seen.cluster.peek(kinds.SECRET, NS, f"corp-idp-{number}-tailnet")["data"]
        assert kept["device_id"] == IDS[number], "the same nodes"


async def test_where_fewer_come_back_than_stood_still_the_others_are_left_behind() -> None:
    seen = on_a_tailnet(2)
    await seen.converge()
    named(seen, 1, "corp-1.tail.example.")
    for number in (0, 1):
        seen.cluster.user_apply(provider(tailnet=NODE, storage=POSTGRES, idp={"replicas": number}))
        await seen.run_for(6)
        assert ("NodesLeft" in conditions(seen)) == (number == 1)
    assert f"once called corp-1.tail.example ({ID}, Secret corp-idp-1-tailnet)" in message(seen, "NodesLeft")


async def test_while_nodes_stand_still_those_are_left_behind_that_keep_their_identity_elsewhere() -> None:
    seen = on_a_tailnet()
    await seen.converge()
    named(seen, 0, "")
    for replicas in (1, 0):
        seen.cluster.user_apply(provider(tailnet=ON_A_DISK, storage=POSTGRES, idp={"replicas": replicas}))
        await seen.run_for(6)
        assert f"({ID}, Secret corp-idp-0-tailnet) any more" in message(seen, "NodesLeft")
        assert "PersistentVolumeClaim" not in message(seen, "NodesLeft")


async def test_secrets_of_others_are_not_left_behind() -> None:
    others = secret("corp-idp-1-tailnet", device_fqdn="theirs.tail.example.")
    seen = on_a_tailnet()
    seen.cluster.user_apply(others)
    await seen.run_for(6)
    assert "NodesLeft" not in conditions(seen)
