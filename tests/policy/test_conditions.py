"""Conditions and templates within a decision: asked last, once, within a budget that each tenant has to himself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.expressions import TEAM, Work, ask, minting
from fakes.trust import BILLING, ISSUER, JWT_GRANT, NOW, SETTINGS, compiled, record, spec, subject
from tailseal.api.reasons import Reason
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, GrantRequest, Refused, Step, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.explaining.explain import explain
from tailseal.domain.policy.expressions import cel, conditions, shape
from tailseal.domain.policy.expressions.conditions import MAX_EVALUATIONS, MAX_SECONDS
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.review.overlap import Policy, overlaps
from tailseal.domain.tenancy.minting import OUR_CLAIMS

SHIPPING = "https://shipping.corp.example"


def asking(text: str, policy: str = "team-a/deploy", grants: Any = (JWT_GRANT,), **members: Any) -> CompiledPolicy:  # noqa: ANN401
    return compiled({"condition": text}, grants, policy, **members)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("claims.run == '1'", None),
        ("claims.run == '2'", Denial.CONDITION_FALSE),
        ("claims.missing == '1'", Denial.CONDITION_ERROR),
        ("claims.big == 1", Denial.CONDITION_ERROR),
    ],
)
def test_only_true_lets_a_policy_grant(text: str, reason: Denial | None) -> None:
    decision = ask(asking(text), claims={"run": "1", "big": 2**64})
    assert isinstance(decision, Granted) if reason is None else decision == Refused(reason, "team-a/deploy")
    assert reason is None or reason.error == "invalid_request"


def test_a_condition_is_asked_only_where_everything_else_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    evaluate = cel.Program.evaluate

    def spy(self: cel.Program, values: cel.Values) -> bool | str:
        asked.append(self.text)
        return evaluate(self, values)

    monkeypatch.setattr(cel.Program, "evaluate", spy)
    ask(compiled({"condition": "true", "subject": {"exact": "somebody"}}))
    ask(compiled({"condition": "true", "maxAge": "1s"}), claims={"iat": 1})
    ask(compiled({"condition": "true", "algorithms": ["ES256"]}))
    ask(asking("true"), audiences=(SHIPPING,))
    ask(asking("true"), scopes=("invoices.delete",))
    assert asked == []
    ask(asking("true"))
    assert asked == ["true"]


def test_all_expressions_of_a_request_see_one_set_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    values = cel.Values

    def spy(claims: Any) -> cel.Values:  # noqa: ANN401
        made.append(claims)
        return values(claims)

    monkeypatch.setattr(conditions, "Values", spy)
    policies = [compiled({"condition": "claims.team == 'x'"}, [CLAIMING], f"team-a/{name}") for name in "abc"]
    assert isinstance(ask(*policies, claims={"team": "x"}), Granted)
    assert len(made) == 1
    ask(compiled())
    assert len(made) == 1, "a request without expressions costs nothing"


def test_a_namespace_has_eight_conditions_a_request_and_takes_none_from_another() -> None:
    many = [asking("claims.x == 1", f"evil/p{number}") for number in range(MAX_EVALUATIONS)]
    assert isinstance(ask(*many, asking("true", "evil/pz")), Refused)
    decision = ask(*many, asking("true", "evil/pz"), claims={"x": 2})
    assert decision == Refused(Denial.CONDITION_FALSE, "evil/p0", exhausted=("evil",))
    granted = ask(*many, asking("true", "evil/pz"), asking("true", "good/deploy"), claims={"x": 2})
    assert isinstance(granted, Granted)
    assert (granted.policy.id, granted.exhausted) == ("good/deploy", ("evil",))
    last = ask(*many[1:], asking("true", "evil/pz"), claims={"x": 2})
    assert isinstance(last, Granted)
    assert last.exhausted == ()


def test_expressions_that_take_too_long_refuse_even_where_they_gave_a_yes_and_only_their_own_namespace() -> None:
    slow, next_, other = asking("true", "evil/a"), asking("true", "evil/b"), asking("true", "good/deploy")
    assert isinstance(ask(slow, work=Work(MAX_SECONDS)), Granted)
    assert ask(slow, work=Work(MAX_SECONDS * 1.1)) == Refused(Denial.CONDITION_BUDGET, "evil/a", exhausted=("evil",))
    assert isinstance(ask(slow, next_, work=Work(0.9 * MAX_SECONDS, 0.2 * MAX_SECONDS)), Granted)
    both = ask(slow, next_, other, work=Work(1.1 * MAX_SECONDS, 0.001))
    assert isinstance(both, Granted)
    assert (both.policy.id, both.exhausted) == ("good/deploy", ("evil",))


def test_templates_take_from_the_same_time() -> None:
    work = Work(MAX_SECONDS * 1.1)
    assert ask(minting(claims=[TEAM]), claims={"team": "x"}, work=work).exhausted == ("team-a",)


CLAIMING = {"name": "g", "jwt": {"audiences": [BILLING], "claims": [TEAM]}}


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (spec({"condition": "clams.a == 1"}), "spec.from.oidc.condition"),
        (spec({"condition": "claims.a"}), "spec.from.oidc.condition"),
        (spec(grants=[{"name": "g", "jwt": {"audiences": [BILLING], "subject": "1"}}]), "spec.grants[0].jwt.subject"),
        (
            spec(grants=[{"name": "g", "jwt": {"audiences": [BILLING], "claims": [{"name": "t", "string": "1"}]}}]),
            "spec.grants[0].jwt.claims[0].string",
        ),
    ],
)
def test_an_expression_that_does_not_compile_is_a_finding_at_its_field(content: dict[str, Any], path: str) -> None:
    found = accepted(record(content), SETTINGS)
    assert not isinstance(found, CompiledPolicy)
    assert [(finding.path, finding.reason) for finding in found] == [(path, Reason.INVALID_SPEC)]


def test_a_policy_on_trial_tells_what_it_would_have_allowed_and_what_it_would_have_refused() -> None:
    trial = asking("claims.run == '1'", "a/trial", enforcement="Audit")
    real = compiled(policy="b/real")
    allowed, denied = ask(trial, real, claims={"run": "1"}), ask(trial, real, claims={"run": "2"})
    assert (allowed.audited, allowed.trial) == (("a/trial",), ())
    assert (denied.audited, denied.trial) == ((), (("a/trial", Denial.CONDITION_FALSE),))
    assert isinstance(denied, Granted)
    stranger = compiled({"subject": {"exact": "somebody"}}, policy="a/trial", enforcement="Audit")
    assert ask(stranger, real).trial == (), "a token that its rules do not trust is no business of a policy"


def test_a_trace_holds_the_condition_where_it_was_asked_and_nothing_of_the_token() -> None:
    text = "claims.ref == 'refs/heads/main' && claims.token_hint != 'x'"
    claims = {"ref": "refs/heads/evil", "token_hint": "very-secret"}
    trace: list[Step] = []
    index = PolicyIndex([asking(text)])
    decide(index, subject(claims), GrantRequest(), SETTINGS, NOW, trace=trace)
    assert Step("team-a/deploy", "spec.from.oidc.condition", "ConditionFalse", text) in trace
    assert "very-secret" not in str(trace)
    trace.clear()
    decide(index, subject(claims), GrantRequest(audiences=(SHIPPING,)), SETTINGS, NOW, trace=trace)
    assert not [step for step in trace if "condition" in step.field]
    account = explain(index, subject(claims), GrantRequest(), SETTINGS, NOW).accounts[0]
    (check,) = account.failures
    assert (check.field, check.outcome, check.expected) == ("spec.from.oidc.condition", "ConditionFalse", text)
    assert '"refs/heads/evil"' in check.found
    assert "very-secret" not in check.found
    assert check.fix


@pytest.mark.parametrize(
    ("first", "second", "shadowed"),
    [
        ("", "claims.a == 'x'", True),
        ("claims.a == 'x'", "claims.a == 'x'", True),
        ("claims.a == 'x'", "", False),
        ("claims.a == 'x'", "claims.a == 'y'", False),
    ],
)
def test_a_condition_shadows_only_what_it_certainly_goes_before(first: str, second: str, *, shadowed: bool) -> None:
    asked = [{"condition": text} if text else {} for text in (first, second)]
    policies = [Policy(compiled(oidc, policy=f"a/p{number}"), oidc) for number, oidc in enumerate(asked)]
    found = [(entry.policy.id, entry.shadowed) for entry in overlaps(policies)]
    assert found == ([("a/p1", True)] if shadowed else [])


@pytest.mark.parametrize(
    ("block", "claims"),
    [
        ({"github": {"ownerID": "65"}}, {"repository_owner_id": "65"}),
        ({"gitlab": {"namespaceID": "7"}}, {"namespace_id": "7", "ref_type": "branch", "pipeline_source": "push"}),
        (
            {"kubernetes": {"issuer": "https://k8s.example", "namespaces": ["ci"]}},
            {
                "sub": "system:serviceaccount:ci:x",
                "kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "x"}},
            },
        ),
    ],
)
def test_the_typed_blocks_take_a_condition_as_well(block: dict[str, Any], claims: dict[str, Any]) -> None:
    (member,) = block
    content = spec() | {"from": {member: block[member] | {"condition": "claims.run == '1'"}}}
    policy = accepted(record(content), SETTINGS)
    assert isinstance(policy, CompiledPolicy)
    index = PolicyIndex([policy])
    for run, granted in (("1", True), ("2", False)):
        token = subject({"iss": policy.trust.source.issuer, "event_name": "push", "run": run} | claims)
        decision = decide(index, token, GrantRequest(), SETTINGS, NOW)
        assert isinstance(decision, Granted) is granted
    assert decision == Refused(Denial.CONDITION_FALSE, "team-a/deploy")
    broken = spec() | {"from": {member: block[member] | {"condition": "clams.run == '1'"}}}
    found = accepted(record(broken), SETTINGS)
    assert not isinstance(found, CompiledPolicy)
    assert found[0].path == f"spec.from.{member}.condition"


ACTORS = [{"oidc": {"issuer": ISSUER, "subject": {"exact": "robot"}}}, {"github": {"ownerID": "65"}}]


def delegated(condition: str, run: str, actor: dict[str, Any], **members: Any) -> Granted | Refused:  # noqa: ANN401
    (member,) = actor
    policy = compiled(actors=[{member: actor[member] | {"condition": condition}}], **members)
    issuer = policy.actors[0].source.issuer
    claims = {"iss": issuer, "sub": "robot", "event_name": "push", "repository_owner_id": "65", "run": run}
    return decide(PolicyIndex([policy]), subject({"run": "7"}), GrantRequest(), SETTINGS, NOW, actors=[subject(claims)])


@pytest.mark.parametrize("actor", ACTORS)
def test_a_condition_on_an_actor_is_asked_of_the_actors_claims(actor: dict[str, Any]) -> None:
    granted = delegated("claims.run == '1'", "1", actor, oidc={"condition": "claims.run == '7'"})
    assert isinstance(granted, Granted)
    assert granted.actor is not None
    assert granted.actor.claims["sub"] == "robot"
    assert delegated("claims.run == '1'", "7", actor) == Refused(Denial.ACTOR_NOT_TRUSTED, "team-a/deploy")
    assert delegated("claims.walk == '1'", "1", actor) == Refused(Denial.ACTOR_NOT_TRUSTED, "team-a/deploy")


@pytest.mark.parametrize("actor", ACTORS)
def test_a_condition_on_an_actor_that_means_nothing_is_found_before_it_is_asked(actor: dict[str, Any]) -> None:
    (member,) = actor
    content = spec() | {"actors": [{member: actor[member] | {"condition": "clams.run == '1'"}}]}
    found = accepted(record(content), SETTINGS)
    assert not isinstance(found, CompiledPolicy)
    assert found[0].path == f"spec.actors[0].{member}.condition"


def test_the_first_entry_that_means_the_actor_counts() -> None:
    entries = [{"oidc": {"issuer": ISSUER, "condition": f"claims.run == '{run}'"}} for run in "123"]
    policy = compiled(actors=entries)
    actors = [subject({"run": "2"})]
    granted = decide(PolicyIndex([policy]), subject(), GrantRequest(), SETTINGS, NOW, actors=actors)
    assert isinstance(granted, Granted)
    assert granted.given.acting is not None
    assert granted.given.acting.trust.origin == "spec.actors[1].oidc"


def test_conditions_on_actors_count_for_the_budget_of_the_request() -> None:
    entries = [{"oidc": {"issuer": ISSUER, "condition": f"claims.run == '{run}'"}} for run in "1234"]
    policies = [compiled(actors=entries, policy=f"team-a/p{number}") for number in range(3)]
    actors = [subject({"run": "none"})]
    refused = decide(PolicyIndex(policies), subject(), GrantRequest(), SETTINGS, NOW, actors=actors)
    assert refused == Refused(Denial.CONDITION_BUDGET, "team-a/p2", exhausted=("team-a",))


def test_the_page_on_expressions_shows_what_works() -> None:
    page = (Path(__file__).parents[2] / "docs" / "expressions.md").read_text()
    (manifest,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    policy = accepted(record(yaml.safe_load(manifest)["spec"]), SETTINGS)
    assert isinstance(policy, CompiledPolicy)
    job = {"iss": policy.trust.source.issuer, "event_name": "push", "repository_owner_id": "65"}
    job |= {"repository_owner": "octo", "repository": "octo/app", "run_attempt": "1", "ref": "refs/heads/release-1"}
    decision = decide(PolicyIndex([policy]), subject(job), GrantRequest(), SETTINGS, NOW)
    assert isinstance(decision, Granted)
    assert f'"team": "{dict(decision.given.claims)["team"]}"' in page
    assert f'"sub": "{decision.given.subject}"' in page
    for name in shape.FUNCTIONS | OUR_CLAIMS:
        assert re.search(rf"\b{name}\b", page), name
