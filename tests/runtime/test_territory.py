"""Two installations and one namespace: exactly one acts, the other says so and stands still."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fakes.cluster import FakeCluster
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, Transient
from tailseal.cluster.port import Object, Ref
from tailseal.runtime.key import Key
from tailseal.runtime.store import Store
from tailseal.runtime.territory import CLAIM, KEPT_FOR, KNOWN_FOR, LOOK_AGAIN, PATIENCE, Territory, Turn

OURS, OTHER = "system:serviceaccount:ours:tailseal-operator", "system:serviceaccount:other:tailseal-operator"
PROVIDER = Key("IdentityProvider", "identity", "corp")
BUNDLE = Key("Bundle", "identity", "corp")
POLICY = Key("TrustPolicy", "team", "deploy")
VERSIONS = itertools.count(1)
LEFT = Turn(ours=False, after=LOOK_AGAIN)


class Land:
    """One installation's view of a cluster, with time that a test moves."""

    def __init__(self, *providers: str, username: str = OURS) -> None:
        self.cluster, self.time = FakeCluster(), 0.0
        self.said: list[str] = []
        self.freed = 0
        self.store = Store(lambda _before, _after: None)
        self.store.put(_object("IdentityProvider", "identity", "corp"))
        self.policy(1)
        self.territory = Territory(self.cluster, self.store, providers, lambda: self.time, self._say, self._free)
        self.username = username

        async def whoami() -> dict[str, Any]:
            return {"username": username}

        self.cluster.whoami = whoami  # type: ignore[method-assign]

    async def _say(self, _obj: Object, text: str) -> None:
        self.said.append(text)

    def _free(self) -> None:
        self.freed += 1

    def policy(self, generation: int, observed: int | None = None, namespace: str = "identity") -> None:
        obj = _object("TrustPolicy", "team", "deploy", generation)
        obj["spec"] = {"identityProviderRef": {"name": "corp", "namespace": namespace}}
        if observed is not None:
            obj["status"] = {"observedGeneration": observed, "conditions": [{"type": "Ready", "status": "True"}]}
        self.store.put(obj)

    def claim(self, *names: str) -> None:
        subjects = []
        for name in names:
            _, _, namespace, account = name.split(":")
            subjects.append({"kind": "ServiceAccount", "namespace": namespace, "name": account})
        obj = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding"}
        self.cluster.user_apply(obj | {"metadata": {"name": CLAIM, "namespace": "identity"}, "subjects": subjects})

    async def turn(self, key: Key = PROVIDER) -> Turn:
        return await self.territory.turn(key)


def _object(kind: str, namespace: str, name: str, generation: int = 1) -> Object:
    version = str(next(VERSIONS))
    metadata = {"namespace": namespace, "name": name, "generation": generation, "uid": name, "resourceVersion": version}
    return {"apiVersion": "tailseal.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {}}


async def test_a_namespace_that_nobody_claims_is_everybody_s() -> None:
    assert await Land().turn() == Turn(ours=True)


@pytest.mark.parametrize("names", [(OURS,), (OTHER, OURS)])
async def test_what_was_given_to_us_is_ours(names: tuple[str, ...]) -> None:
    land = Land("identity")
    land.claim(*names)
    assert await land.turn() == Turn(ours=True)


async def test_what_was_given_to_another_is_left_alone_and_said_once() -> None:
    land = Land()
    land.claim(OTHER)
    for _ in range(3):
        assert await land.turn() == LEFT
        assert await land.turn(BUNDLE) == LEFT
        assert await land.turn(POLICY) == Turn(ours=False)
        land.time += LOOK_AGAIN
    assert land.said == [f"RoleBinding {CLAIM} gives namespace identity to {OTHER}: this installation leaves it alone"]


async def test_when_the_other_installation_is_removed_everything_is_looked_at() -> None:
    land = Land()
    land.claim(OTHER)
    assert await land.turn() == LEFT
    land.cluster.user_delete(kinds.ROLE_BINDING, "identity", CLAIM)
    assert await land.turn() == LEFT, "an answer is good for a while"
    land.time += KNOWN_FOR
    assert await land.turn() == Turn(ours=True)
    assert land.freed == 1


async def test_a_namespace_that_is_given_away_is_left_within_the_time_that_an_answer_is_good() -> None:
    land = Land()
    assert await land.turn() == Turn(ours=True)
    land.claim(OTHER)
    land.time += KNOWN_FOR
    assert await land.turn() == LEFT


async def test_without_the_right_to_ask_nothing_is_claimed() -> None:
    land = Land()
    land.claim(OTHER)
    land.cluster.refuse = lambda _verb, _ref: Forbidden("no")
    assert await land.turn() == Turn(ours=True)


async def test_while_the_api_server_is_away_the_last_answer_holds_and_without_one_nothing_is_done() -> None:
    land = Land()
    land.claim(OTHER)

    def away(_verb: str, _ref: Ref) -> Transient:
        return Transient("away")

    land.cluster.refuse = away
    with pytest.raises(Transient):
        await land.turn()
    land.cluster.refuse = lambda _verb, _ref: None
    assert await land.turn() == LEFT
    land.cluster.refuse = away
    land.time += KNOWN_FOR
    assert await land.turn() == LEFT


async def test_who_names_another_installation_s_provider_is_judged_by_that_one() -> None:
    land = Land("ours")
    first = await land.turn(POLICY)
    assert first == Turn(ours=False, after=PATIENCE)
    land.policy(1, observed=1)
    land.time += PATIENCE
    assert await land.turn(POLICY) == Turn(ours=False)
    land.policy(2, observed=1)
    assert await land.turn(POLICY) == Turn(ours=False, after=PATIENCE), "a change is the other's to judge, too"


async def test_who_names_nobody_s_provider_hears_of_it_after_a_while() -> None:
    land = Land("ours")
    await land.turn(POLICY)
    land.time += PATIENCE
    assert await land.turn(POLICY) == Turn(ours=True)


async def test_who_names_our_provider_is_judged_at_once() -> None:
    land = Land("identity")
    assert await land.turn(POLICY) == Turn(ours=True)


async def test_nothing_is_remembered_of_a_policy_that_was_deleted() -> None:
    """Who may make policies could fill the memory with names otherwise."""
    land = Land("ours")
    await land.turn(POLICY)
    land.store.remove(Ref(kinds.TRUST_POLICY, POLICY.namespace, POLICY.name))
    await land.turn(POLICY)
    assert not land.territory._first_seen


async def test_nothing_is_remembered_for_long_of_namespaces_that_policies_only_named() -> None:
    land = Land()
    for number in range(20):
        land.policy(number + 1, namespace=f"elsewhere-{number}")
        await land.turn(POLICY)
        land.time += KEPT_FOR / 4
    assert len(land.territory._claims) <= 8
