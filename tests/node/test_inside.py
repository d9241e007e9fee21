"""What pods rely on: they find a provider by its name in the cluster, and it proves there that it is the one."""

from __future__ import annotations

import json

import pytest

from node.inside import TEAM, Party
from node.world import PROVIDERS, SPACE, World, measured, until
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import verify

pytestmark = [pytest.mark.node, pytest.mark.helm]


def test_a_pod_exchanges_its_own_token_and_takes_the_keys_at_the_addresses_that_status_names(
    world: World, party: Party
) -> None:
    listed = json.loads(world.kubectl("get", "identityprovider/corp", SPACE, "--output=json"))["status"]["endpoints"]
    places = {each["name"]: each["url"] for each in listed}
    assert (places["sts"], places["idp"]) == (f"https://corp-sts.{PROVIDERS}.svc", f"https://corp-idp.{PROVIDERS}.svc")
    party.trust("corp")
    for component in ("sts", "idp"):
        place = places[component]
        seconds = until(lambda place=place: party.exchange(place, "corp")[0] == 200, "the pod's token is exchanged")
        measured(f"a pod's own token exchanged at corp-{component}.{PROVIDERS}.svc", "granted", "granted", seconds)
        status, keys = party.ask(f"{place}/.well-known/jwks.json")
        assert status == 200
        claims = verify(
            party.exchange(place, "corp")[1]["access_token"], keys, issuer=world.issuer, audience=manifests.AUDIENCE
        )
        assert claims["sub"] == f"policy:{PROVIDERS}/{TEAM}-at-corp"
