"""What a TrustPolicy's status says of others of its namespace that stand in its way."""

from __future__ import annotations

import pytest

from fakes import trust
from fakes.trustpolicies import READY, conditions, message, policy, provider, serve, world
from fakes.world import World
from tailseal.cluster import kinds
from tailseal.domain.policy.review import overlap
from tailseal.reconcile.overlapping import PAUSE

SAME = {"name": "billing", "jwt": {"audiences": [trust.BILLING]}}


async def later(made: World) -> None:
    """When a namespace is looked at again, and all replicas have reported once more."""
    await made.run_for(PAUSE + 1)
    await serve(made)


async def test_a_policy_that_another_of_its_namespace_always_goes_before_says_so_while_it_is_true() -> None:
    made = world(provider(), policy(grants=[SAME]), policy("team-a/later", grants=[SAME]))
    await serve(made)
    shadowed = READY | {"Overlapping": ("True", "Shadowed")}
    assert (conditions(made), conditions(made, "team-a/later")) == (READY, shadowed)
    assert message(made, "Overlapping", "team-a/later").startswith("team-a/deploy comes first")
    made.cluster.user_apply(policy(grants=[SAME | {"jwt": {"audiences": ["https://other.corp.example"]}}]))
    await serve(made)
    await later(made)
    assert conditions(made, "team-a/later") == READY | {"Overlapping": ("True", "Ambiguous")}
    made.cluster.user_delete(kinds.TRUST_POLICY, "team-a", "deploy")
    await serve(made)
    await later(made)
    assert conditions(made, "team-a/later") == READY
    await made.converge()
    before = len(made.cluster.writes)
    await made.converge()
    assert len(made.cluster.writes) == before


async def test_a_namespace_whose_policies_change_all_the_time_is_compared_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []
    monkeypatch.setattr(overlap, "overlaps", lambda *_: looks.append(1) or ())
    made = world(provider(), policy(), policy("team-a/other"))
    for number in range(20):
        made.cluster.user_apply(policy(grants=[SAME | {"name": f"g{number}"}]))
        await made.converge()
    assert len(looks) == 1
    await made.run_for(PAUSE + 1)
    assert len(looks) == 2


async def test_no_status_names_policies_of_other_namespaces() -> None:
    made = world(provider(), policy("team-a/deploy", grants=[SAME]), policy("team-b/deploy", grants=[SAME]))
    await serve(made)
    assert conditions(made, "team-a/deploy") == conditions(made, "team-b/deploy") == READY
