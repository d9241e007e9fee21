"""Conditions and templates through the exchange: into the token, the audit line and the metrics."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from fakes.exchange import Bench, call, claims, ec_key, foreign_set, form, record, spec, token
from tailseal.domain.policy.expressions.conditions import MAX_SECONDS
from tailseal.tokens.exchange import Answered, Exchange
from tailseal.tokens.mint import Minted, mint
from tailseal.tokens.signers import LocalSigner
from tailseal.workers.common.telemetry.metrics import Metrics


def claims_of(minted: str) -> dict[str, Any]:
    return dict(jwt.decode(minted, options={"verify_signature": False}))


def granting(**members: object) -> dict[str, Any]:
    """The usual policy with these members of its first grant's JWT."""
    content = spec()
    grant = content["grants"][0]
    return content | {"grants": [grant | {"jwt": grant["jwt"] | members}]}


def test_what_templates_give_stands_in_the_token_and_the_policy_stays_its_client() -> None:
    content = granting(claims=[{"name": "team", "string": "claims.team"}], subject="claims.team")
    status, answer = Bench(record(content)).answer(call(form(token(claims(team="payments")))))
    assert status == 200
    minted = claims_of(answer["access_token"])
    assert (minted["team"], minted["sub"]) == ("payments", "policy:identity/ci:payments")
    assert minted["client_id"] == "policy:identity/ci"


def test_claims_are_of_the_kind_that_the_policy_says() -> None:
    members = {"strings": "claims.groups_direct", "integer": "claims.n", "boolean": "claims.n > 1", "string": "'x'"}
    content = granting(claims=[{"name": f"a_{member}", member: text} for member, text in members.items()])
    status, answer = Bench(record(content)).answer(call(form(token(claims(groups_direct=["a", "b"], n=2)))))
    assert status == 200
    minted = claims_of(answer["access_token"])
    given = {member: minted[f"a_{member}"] for member in members}
    assert given == {"strings": ["a", "b"], "integer": 2, "boolean": True, "string": "x"}


def test_a_token_without_what_a_template_needs_gets_nothing() -> None:
    content = granting(claims=[{"name": "team", "string": "claims.team"}])
    assert Bench(record(content)).reason(token()) == "ClaimError"


@pytest.mark.parametrize(
    ("run", "reason"), [({"run": "1"}, ""), ({"run": "2"}, "ConditionFalse"), ({}, "ConditionError")]
)
def test_a_condition_decides_after_all_rules(run: dict[str, str], reason: str) -> None:
    assert Bench(record(spec(condition="claims.run == '1'"))).reason(token(claims(**run))) == reason


def test_the_line_names_what_rules_and_condition_looked_at() -> None:
    bench = Bench(record(spec(condition="claims.run == '1' && claims.repository_id != ''")))
    outcome = bench.step(call(form(token(claims(run="1")))))
    assert isinstance(outcome, Answered)
    assert outcome.audit["claims"] == ("sub", "repository_id", "run")


def test_no_claim_of_a_policy_takes_the_place_of_one_of_ours() -> None:
    names = ("iss", "sub", "aud", "client_id", "iat", "exp", "jti", "scope", "act", "cnf")
    content = Minted(
        "i", "s", "c", ("a",), ("x",), 1, 2, "j", {"sub": "a"}, {"jkt": "k"}, tuple((name, "evil") for name in names)
    )
    assert "evil" not in claims_of(mint(content, LocalSigner(ec_key("ours"), "ES256", "k1"), "JWT")).values()


def test_a_condition_over_budget_is_refused_written_down_and_counted_against_its_namespace() -> None:
    bench = Bench(record(spec(condition="claims.sub != ''")))
    seconds = iter([0.0, MAX_SECONDS * 2])
    slow = Exchange(bench.exchange._settings, bench.index, bench.exchange._signer, 3600, ticks=lambda: next(seconds))
    outcome = slow.step(call(), bench.keys, 1_800_000_000.0)
    assert isinstance(outcome, Answered)
    assert (outcome.reason, outcome.audit["exhausted"]) == ("ConditionBudget", ("identity",))
    metrics = Metrics()
    metrics.decided(outcome.audit)
    assert b'tailseal_condition_budget_exhausted_total{namespace="identity"} 1.0' in metrics.render()


def test_what_a_policy_on_trial_would_do_is_written_down_and_counted() -> None:
    trial = spec(condition="claims.run == '1'") | {"enforcement": "Audit"}
    bench = Bench(record(trial, "trial"), record(), keys=foreign_set())
    metrics = Metrics()
    for run in ("1", "2", "2"):
        outcome = bench.step(call(form(token(claims(run=run)))))
        assert outcome.result == "granted"
        metrics.decided(outcome.audit)
    assert outcome.audit["wouldDeny"] == [{"policy": "identity/trial", "reason": "ConditionFalse"}]
    text = metrics.render().decode()
    assert 'tailseal_audited_policies_total{namespace="identity",outcome="allow"} 1.0' in text
    assert 'tailseal_audited_policies_total{namespace="identity",outcome="deny"} 2.0' in text
