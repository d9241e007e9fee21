"""What policies of one namespace may take of a worker's time: measured, and over many requests no more than a share."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.trust import ISSUER, NOW, SETTINGS, compiled, subject
from tailseal.domain.policy.compile import PolicyError
from tailseal.domain.policy.decide import Granted, GrantRequest, Refused, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.expressions.conditions import Bottomless, Conditions
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.trust import Verified
from tailseal.workers.common.limits.bucket import Limiter
from tailseal.workers.common.limits.exchange import WORK, Limits

REGEX = {"subject": {"regex": "job-[0-9]"}}
PLAIN = {"subject": {"exact": "job-1"}}


class Purse(Bottomless):
    def __init__(self, *broke: str) -> None:
        self.broke, self.paid = broke, dict[str, float]()

    def affords(self, namespace: str) -> bool:
        return namespace not in self.broke

    def pay(self, namespace: str, seconds: float) -> None:
        self.paid[namespace] = self.paid.get(namespace, 0.0) + seconds


class Ticks:
    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def asked(purse: Purse, *policies: Any, step: float = 0.001, **request: Any) -> Granted | Refused:  # noqa: ANN401
    conditions = Conditions(subject().claims, Ticks(step), purse)
    index = PolicyIndex(policies)
    return decide(index, subject(), GrantRequest(**request), SETTINGS, NOW, conditions=conditions)


@pytest.mark.parametrize("costly", [REGEX, {"condition": "claims.sub == 'job-1'"}], ids=["regex", "condition"])
def test_a_namespace_without_time_left_is_refused_and_nobody_else(costly: dict[str, Any]) -> None:
    mine, other = compiled(costly, policy="team-a/x"), compiled(costly, policy="team-b/x")
    refused = asked(Purse("team-a"), mine)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.exhausted) == (Denial.CONDITION_BUDGET, ("team-a",))
    granted = asked(Purse("team-a"), mine, other)
    assert isinstance(granted, Granted)
    assert granted.policy.id == "team-b/x"


@pytest.mark.parametrize("costly", [REGEX, {"condition": "claims.sub == 'job-1'"}], ids=["regex", "condition"])
def test_what_it_took_is_paid_by_the_namespace_whose_policy_it_was(costly: dict[str, Any]) -> None:
    purse = Purse()
    asked(purse, compiled(costly, policy="team-a/x"), compiled(PLAIN, policy="team-b/x"))
    assert purse.paid == pytest.approx({"team-a": 0.001})


def test_a_policy_that_takes_no_time_to_speak_of_is_granted_whatever_else_its_namespace_did() -> None:
    purse = Purse("team-a")
    assert isinstance(asked(purse, compiled(PLAIN, policy="team-a/x")), Granted)
    assert purse.paid == {}


def test_one_request_costs_a_namespace_no_more_than_its_budget_and_the_policy_that_exceeds_it() -> None:
    policies = [compiled(REGEX, policy=f"team-a/p{number:02}") for number in range(50)]
    purse = Purse()
    outcome = asked(purse, *policies, step=0.002)
    assert outcome.exhausted == ("team-a",)
    assert purse.paid["team-a"] < 0.01


def test_rules_on_actors_are_paid_for_too() -> None:
    actor = {"oidc": {"issuer": ISSUER, "subject": {"regex": "robot-[0-9]"}}}
    policy = compiled(PLAIN, policy="team-a/x", actors=[actor])
    claims = subject({"sub": "robot-1"})
    actors = (Verified(claims.source, claims.algorithm, claims.audiences, claims.claims),)
    conditions = Conditions(subject().claims, Ticks(0.001), Purse("team-a"))
    index = PolicyIndex([policy])
    outcome = decide(index, subject(), GrantRequest(), SETTINGS, NOW, actors=actors, conditions=conditions)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Denial.CONDITION_BUDGET


def test_a_share_is_won_back_in_time_however_far_it_was_exceeded() -> None:
    now = 0.0
    limits = Limits(lambda: now)
    limits.pay("team-a", 0.4)
    assert limits.affords("team-a")
    limits.pay("team-a", 2.0)
    assert not limits.affords("team-a")
    assert limits.affords("team-b")
    now = (2.4 - 0.5) * 1000 / WORK.rate - 0.1
    assert not limits.affords("team-a")
    now += 0.2
    assert limits.affords("team-a")


def test_who_pays_is_kept_in_bounded_memory() -> None:
    limiter = Limiter(1, 1, 5)
    for number in range(50):
        limiter.charge(number, 0.0, 10.0)
        assert len(limiter) <= 5
    assert limiter.is_open(0, 0.0)
    assert not limiter.is_open(49, 0.0)


@pytest.mark.parametrize(
    "regex", [r"\pL{64}", "(a?){400}a{400}", "((a?b?){30}){30}", ".{1,300}a.{1,300}", "([ab]{1,999}a)*b"]
)
def test_a_regular_expression_that_may_take_long_is_refused(regex: str) -> None:
    with pytest.raises(PolicyError, match="may take too long"):
        compiled({"subject": {"regex": regex}})


@pytest.mark.parametrize(
    "regex",
    [r"repo:acme/[^/]+:ref:refs/heads/release-[0-9]{1,4}", "[a-z0-9-]{1,253}", "v[0-9]+(\\.[0-9]+){2}", r"\p{Lu}\w*"],
)
def test_what_people_write_is_taken(regex: str) -> None:
    assert compiled({"subject": {"regex": regex}}).is_costly


def test_a_policy_has_only_so_many_regular_expressions() -> None:
    claims = [{"claim": f"c{number}", "regex": "x+"} for number in range(9)]
    assert compiled({"claims": claims[:8]})
    with pytest.raises(PolicyError, match="at most 8 regular expressions"):
        compiled({"claims": claims})
