"""The `tailnet` block against people and machines of a tailnet, and against claims that somebody else made."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import exchange
from tailseal.api.trustpolicy import TailnetSource
from tailseal.domain import capability
from tailseal.domain.bundle.model import Bound
from tailseal.domain.caller import Caller, Node, User
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.general import General
from tailseal.domain.policy.matchers import Verdict
from tailseal.domain.policy.providers import tailnet
from tailseal.domain.policy.review.lint import lint

AUDIENCE = "https://billing.corp.example"
RESOURCE = f"audience/{AUDIENCE}"
ANA = Caller(
    Node("nANA11CNTRL", "11", "laptop.tail.ts.net", "nodekey:a", (), (ip_address("100.64.0.1"),)),
    User("1", "ana@corp.example", "Ana", groups=("sre@corp.example",)),
)
CI = Caller(
    Node("nCI22CNTRL", "22", "ci.tail.ts.net", "nodekey:b", ("tag:ci", "tag:prod"), (ip_address("100.64.0.2"),)), None
)
EXCHANGE = {"v": 1, "allow": [{"action": ["exchange"], "resource": [RESOURCE]}]}
GROUPED = EXCHANGE | {"claims": {"groups": ["eng", 1, True]}}


def block(**members: object) -> General:
    return tailnet.general(TailnetSource.model_validate(members), "spec.from.tailnet")


def trusts(trust: General, claims: Any) -> bool:  # noqa: ANN401 - any JSON object
    return not trust.findings and all(rule.test(claims) is Verdict.MATCH for rule in trust.rules)


def seen(caller: Caller, *values: object) -> Any:  # noqa: ANN401
    granted = capability.read(values)
    return {**tailnet.claims(caller, granted, [AUDIENCE]), "capabilities": granted}


@pytest.mark.parametrize(
    ("members", "caller", "granted", "trusted"),
    [
        ({"users": ["ana@corp.example"]}, ANA, (), True),
        ({"users": ["*@corp.example"]}, ANA, (), True),
        ({"users": ["ben@corp.example", "ana@*"]}, ANA, (), True),
        ({"users": ["ana"]}, ANA, (), False),
        ({"users": ["Ana@corp.example"]}, ANA, (), False),
        ({"users": ["**"]}, CI, (), False),
        ({"users": ["tagged-devices"]}, CI, (), False),
        ({"groups": ["sre@corp.example"]}, ANA, (), True),
        ({"groups": ["eng"]}, ANA, (GROUPED,), True),
        ({"groups": ["eng"]}, ANA, (), False),
        ({"groups": ["1"]}, ANA, (GROUPED,), False),
        ({"groups": ["eng"]}, ANA, (GROUPED | {"claims": {"groups": "eng"}},), False),
        (
            {"groups": ["eng"]},
            ANA,
            (GROUPED | {"allow": [{"action": ["exchange"], "resource": ["audience/https://other.example"]}]},),
            False,
        ),
        ({"tags": ["tag:ci"]}, CI, (), True),
        ({"tags": ["tag:*"]}, CI, (), True),
        ({"tags": ["tag:prod", "tag:x"]}, CI, (), True),
        ({"tags": ["tag:x"]}, CI, (), False),
        ({"tags": ["**"]}, ANA, (), False),
        ({"nodes": ["nCI22CNTRL"]}, CI, (), True),
        ({"nodes": ["nCI22CNTRL"]}, ANA, (), False),
        ({"nodes": ["ci.tail.ts.net"]}, CI, (), False),
        ({"nodes": ["22"]}, CI, (), False),
        ({"tags": ["tag:ci"], "nodes": ["nANA11CNTRL"]}, CI, (), False),
        ({"capability": {"action": "exchange", "resource": RESOURCE}}, ANA, (EXCHANGE,), True),
        ({"capability": {"action": "exchange", "resource": RESOURCE}}, CI, (EXCHANGE,), True),
        ({"capability": {"action": "exchange", "resource": RESOURCE}}, ANA, (), False),
        ({"capability": {"action": "exchange", "resource": "*"}}, ANA, (EXCHANGE,), False),
        ({"capability": {"action": "login", "resource": "client/grafana"}}, ANA, (EXCHANGE,), False),
        (
            {"users": ["ben@corp.example"], "capability": {"action": "exchange", "resource": RESOURCE}},
            ANA,
            (EXCHANGE,),
            False,
        ),
    ],
)
def test_the_callers_that_are_meant_are_trusted_and_nobody_else(
    members: dict[str, object], caller: Caller, granted: tuple[object, ...], *, trusted: bool
) -> None:
    trust = block(**members)
    assert trust.findings == ()
    assert trusts(trust, seen(caller, *granted)) is trusted


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"users": ["ana@corp.example"], "tags": ["tag:ci"]}, "tags"),
        ({"capability": {"action": "delete", "resource": RESOURCE}}, "capability.action"),
        ({"capability": {"action": "exchange", "resource": "client/*"}}, "capability.resource"),
        ({"capability": {"action": "exchange", "resource": "https://billing.corp.example"}}, "capability.resource"),
        ({"users": ["***"]}, "users[0]"),
    ],
)
def test_a_block_that_nobody_could_ever_match_is_shown_at_its_place(members: dict[str, object], where: str) -> None:
    trust = block(**members)
    assert [finding.path for finding in trust.findings] == [f"spec.from.tailnet.{where}"]


def test_a_name_may_change_hands_but_an_id_does_not() -> None:
    assert ANA.user is not None
    renamed = replace(ANA, user=replace(ANA.user, login="ben@corp.example"))
    assert seen(renamed)["sub"] == seen(ANA)["sub"] == "userid:1"
    assert trusts(block(nodes=["nANA11CNTRL"]), seen(renamed))


@pytest.mark.parametrize(
    ("resources", "asked", "counts"),
    [
        ([RESOURCE], [AUDIENCE], True),
        ([RESOURCE], [AUDIENCE, "https://other.example"], False),
        ([RESOURCE, "audience/https://other.example"], [AUDIENCE, "https://other.example"], True),
        ([RESOURCE], [], False),
        (["*"], [], True),
        (["*"], [AUDIENCE, "https://other.example"], True),
    ],
)
def test_a_group_counts_for_what_it_was_granted_for_and_for_nothing_else(
    resources: list[str], asked: list[str], *, counts: bool
) -> None:
    rule = {"v": 1, "allow": [{"action": ["exchange"], "resource": resources}], "claims": {"groups": ["eng"]}}
    found = tailnet.claims(ANA, capability.read([rule]), asked)["groups"]
    assert found == (["eng"] if counts else []) + ["sre@corp.example"]


@pytest.mark.parametrize("forged", [{"*": ["*"]}, [EXCHANGE], "exchange", True])
def test_no_claim_that_a_token_can_hold_stands_for_a_capability(forged: object) -> None:
    trust = block(capability={"action": "exchange", "resource": RESOURCE})
    assert not trusts(trust, dict(seen(ANA, EXCHANGE)) | {"capabilities": forged})


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "users": st.just(["*@corp.example"]),
        "groups": st.sampled_from([["eng"], ["sre@corp.example"]]),
        "tags": st.just(["tag:ci"]),
        "nodes": st.sampled_from([["nCI22CNTRL"], ["nANA11CNTRL"], ["**"]]),
        "capability": st.just({"action": "exchange", "resource": RESOURCE}),
    },
).filter(bool)


@given(MEMBERS, MEMBERS, st.sampled_from([ANA, CI]), st.lists(st.sampled_from([EXCHANGE, GROUPED]), max_size=2))
def test_one_more_member_never_trusts_anybody_more(
    some: dict[str, object], more: dict[str, object], caller: Caller, granted: list[object]
) -> None:
    claims = seen(caller, *granted)
    if trusts(block(**(more | some)), claims):
        assert trusts(block(**some), claims)


def held(**bound: object) -> tuple[str, ...]:
    """What stands in the way of a tenant's policy about callers, under a bound."""
    rule = Bound(name="teams", namespaces=("team-a",), audiences=(AUDIENCE,), max_ttl=3600, **bound)  # type: ignore[arg-type]
    spec = exchange.SPEC | {
        "from": {"tailnet": {"tags": ["tag:ci"]}},
        "grants": [{"name": "g", "jwt": {"audiences": [AUDIENCE], "ttl": "5m"}}],
    }
    settings = exchange.SETTINGS.model_copy(update={"bounds": (rule,)})
    outcome = accepted(exchange.record(spec, namespace="team-a"), settings)
    return tuple(finding.path for finding in outcome) if isinstance(outcome, tuple) else ()


def test_a_tenant_may_trust_the_tailnets_word_only_where_bounds_say_so() -> None:
    assert held(key_sources=("Tailnet",)) == ()
    assert held(key_sources=("*",)) == ()
    assert held(key_sources=("Discovery", "JWKS", "Session"), issuers=("*",)) == ("spec.from.tailnet.keys",)
    assert held() == ("spec.from.tailnet.keys",)


def test_a_policy_about_callers_is_nothing_to_warn_of() -> None:
    spec = {
        "identityProviderRef": {"name": "corp"},
        "from": {"tailnet": {"users": ["**"]}},
        "grants": [{"name": "g", "jwt": {"audiences": [AUDIENCE]}}],
    }
    policy = {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": "TrustPolicy",
        "metadata": {"name": "people", "namespace": "identity"},
        "spec": spec,
    }
    provider = {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": "IdentityProvider",
        "metadata": {"name": "corp", "namespace": "identity"},
        "spec": {"issuer": exchange.OURS, "signingKeys": [{"name": "corp"}]},
    }
    key = {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": "SigningKey",
        "metadata": {"name": "corp", "namespace": "identity"},
        "spec": {},
    }
    assert lint([policy, provider, key], now=0) == ()
