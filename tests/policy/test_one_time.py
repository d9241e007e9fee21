"""A policy whose tokens count once is taken where somebody remembers, and nowhere else."""

from __future__ import annotations

from copy import deepcopy

import pytest

from fakes.exchange import SETTINGS, record, spec
from tailseal.api.reasons import Reason
from tailseal.domain.policy.compile import CompiledPolicy, accepted
from tailseal.domain.tenancy import bounds

ONCE = record(spec(replay={"oneTime": True}))


def test_without_shared_state_it_is_refused_with_its_place_and_the_remedy() -> None:
    found = accepted(ONCE, SETTINGS)
    assert isinstance(found, tuple)
    assert [(finding.path, finding.reason) for finding in found] == [
        ("spec.from.oidc.replay.oneTime", Reason.NEEDS_SHARED_STATE)
    ]
    assert found[0].message == (
        "needs storage that all replicas share: IdentityProvider identity/corp has none, and gets it by spec.storage"
        " with type Postgres"
    )


@pytest.mark.parametrize("state", ["Postgres", "SQLite"])
def test_with_a_store_it_is_taken_and_stops_granting_once_that_is_gone(state: str) -> None:
    policy = accepted(ONCE, SETTINGS.model_copy(update={"state": state}))
    assert isinstance(policy, CompiledPolicy)
    assert policy.trust.one_time
    assert bounds.violations(policy, SETTINGS)[0].reason is Reason.NEEDS_SHARED_STATE


def test_a_policy_that_says_no_needs_nobody_to_remember() -> None:
    policy = accepted(record(spec(replay={"oneTime": False})), SETTINGS)
    assert isinstance(policy, CompiledPolicy)
    assert not policy.trust.one_time


def test_a_proof_that_is_required_needs_somebody_to_remember_it() -> None:
    required = deepcopy(spec())
    required["grants"][0]["jwt"]["requireDPoP"] = True
    found = accepted(record(required), SETTINGS)
    assert isinstance(found, tuple)
    assert [(finding.path, finding.reason) for finding in found] == [
        ("spec.grants[0].jwt.requireDPoP", Reason.NEEDS_SHARED_STATE)
    ]
    policy = accepted(record(required), SETTINGS.model_copy(update={"state": "Postgres"}))
    assert isinstance(policy, CompiledPolicy)
    assert policy.grants[0].require_dpop


BLOCKS = {
    "github": {"ownerID": "65"},
    "gitlab": {"projectID": "7"},
    "buildkite": {"organizationID": "12345678-1234-1234-1234-123456789012"},
    "circleci": {"organizationID": "12345678-1234-1234-1234-123456789012"},
    "terraform": {"organizationID": "org-1"},
    "kubernetes": {"issuer": "https://cluster.example", "namespaces": ["shop"]},
    "session": {},
}


@pytest.mark.parametrize("member", BLOCKS)
def test_the_typed_blocks_say_how_old_and_how_often_in_the_same_words(member: str) -> None:
    content = spec() | {"from": {member: BLOCKS[member] | {"maxAge": "5m", "replay": {"oneTime": True}}}}
    found = accepted(record(content), SETTINGS)
    assert isinstance(found, tuple)
    assert [(finding.path, finding.reason) for finding in found] == [
        (f"spec.from.{member}.replay.oneTime", Reason.NEEDS_SHARED_STATE)
    ]
    policy = accepted(record(content), SETTINGS.model_copy(update={"state": "Postgres"}))
    assert isinstance(policy, CompiledPolicy)
    assert (policy.trust.max_age, policy.trust.one_time) == (300, True)
    plain = accepted(record(spec() | {"from": {member: BLOCKS[member]}}), SETTINGS)
    assert isinstance(plain, CompiledPolicy)
    assert (plain.trust.max_age, plain.trust.one_time, plain.trust.condition) == (None, False, None)
