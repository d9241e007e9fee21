"""What status says of the nodes: how they are called, whether they are up and whether they share the issuer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fakes.numbered import DIRECT, POSTGRES, SERVE, on_a_tailnet
from fakes.provider import NS, conditions, message, status
from fakes.world import World
from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderStatus


def nodes(seen: World, **states: str) -> None:
    """Let the identity provider's replicas tell of their nodes, by name of the pod's Deployment."""
    told = []
    for replica in seen.replicas.obedient(NS, "corp"):
        state = states.get(replica.name.replace("-", "_").rpartition("_")[0], "")
        report = replica.report
        assert report is not None
        node = {"state": state, "name": f"{replica.name}.tail.example" if state == "Running" else ""} if state else {}
        labels = {meta.ORDINAL_LABEL: replica.name.split("-")[2]} if replica.component == "idp" else {}
        told.append(dataclasses.replace(replica, report=dataclasses.replace(report, node=node), labels=labels))
    seen.replicas.tell(NS, "corp", told)


async def test_status_says_what_the_nodes_are_called_and_that_the_issuer_has_several() -> None:
    seen = on_a_tailnet(tailnet=DIRECT, storage=POSTGRES, idp={"replicas": 2})
    await seen.converge()
    nodes(seen, corp_idp_0="Running", corp_idp_1="Running")
    await seen.run_for(60)
    endpoints = {entry["name"]: entry["url"] for entry in status(seen)["endpoints"]}
    assert endpoints["tailnet-0"] == "http://corp-idp-0-0.tail.example:8444", "no certificate, no https"
    assert endpoints["tailnet-1"] == "http://corp-idp-1-0.tail.example:8444"
    assert conditions(seen)["IssuerShared"] == ("False", "IssuerNotShared")
    assert "TailnetJoined" not in conditions(seen)
    assert "Restricted" not in conditions(seen)


async def test_status_has_room_for_all_endpoints_that_a_spec_can_have() -> None:
    said = [{"name": f"e{number}", "url": f"https://e{number}.corp.example"} for number in range(8)]
    several = {"storage": POSTGRES, "idp": {"enabled": True, "replicas": 8}, "sts": {"enabled": True}}
    seen = on_a_tailnet(tailnet=DIRECT, serving={"endpoints": said}, **several)
    await seen.converge()
    nodes(seen, **{f"corp_idp_{number}": "Running" for number in range(8)})
    await seen.run_for(60)
    known = IdentityProviderStatus.model_validate(status(seen))
    assert len(known.endpoints) == len(said) + 8 + len({"sts", "idp", "jwks"})


@pytest.mark.parametrize(
    ("tailnet", "replicas", "asks_for"),
    [
        (DIRECT, 1, ""),
        (DIRECT, 2, "spec.tailnet.sharedBy: DNS"),
        (DIRECT | {"sharedBy": "DNS"}, 2, ""),
        (SERVE, 2, "spec.tailnet.service"),
        (SERVE | {"auth": DIRECT["auth"], "tags": ["tag:idp"], "service": "svc:idp"}, 2, ""),
    ],
    ids=["one", "Direct", "Direct by DNS", "Serve", "Serve by a Service"],
)
async def test_several_nodes_share_an_issuer_where_something_is_said_to_lead_to_all_of_them(
    tailnet: dict[str, Any], replicas: int, asks_for: str
) -> None:
    issuer = "https://idp.corp.example"
    seen = on_a_tailnet(issuer=issuer, tailnet=tailnet, storage=POSTGRES, idp={"replicas": replicas})
    await seen.converge()
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert ("IssuerShared" in conditions(seen)) == bool(asks_for)
    if asks_for:
        assert message(seen, "IssuerShared").endswith(asks_for)


async def test_behind_serve_an_endpoint_is_the_nodes_own_https_name() -> None:
    seen = on_a_tailnet()
    await seen.converge()
    nodes(seen, corp_idp_0="Running")
    await seen.run_for(60)
    endpoints = {entry["name"]: entry["url"] for entry in status(seen)["endpoints"]}
    assert endpoints["tailnet-0"] == "https://corp-idp-0-0.tail.example"


async def test_behind_serve_a_node_of_another_name_than_the_issuers_is_said() -> None:
    issuer = "https://corp-idp-0-0.tail.example"
    for named, expected in (("https://idp.tail.example", ("False", "NodeNamedOtherwise")), (issuer, None)):
        seen = on_a_tailnet(issuer=named)
        await seen.converge()
        nodes(seen, corp_idp_0="Running")
        await seen.run_for(60)
        assert conditions(seen).get("TailnetJoined") == expected
        if expected:
            assert "the issuer is idp.tail.example, and the node is called corp-idp-0-0.tail.example" in message(
                seen, "TailnetJoined"
            )


async def test_a_node_that_is_not_up_is_named_with_its_state() -> None:
    seen = on_a_tailnet(issuer="https://corp-idp-0-0.tail.example")
    await seen.converge()
    nodes(seen, corp_idp_0="NeedsLogin")
    await seen.run_for(60)
    assert conditions(seen)["TailnetJoined"] == ("False", "NodeNotRunning")
    assert "corp-idp-0-0: NeedsLogin" in message(seen, "TailnetJoined")
    assert conditions(seen)["Restricted"] == ("False", "ServeNeedsRoot")
    nodes(seen, corp_idp_0="Running")
    await seen.run_for(60)
    assert "TailnetJoined" not in conditions(seen)
