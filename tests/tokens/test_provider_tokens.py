"""One exchange for each provider's tokens: its bytes in, a JWT out that a library without part in it verifies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from fakes import jobs
from fakes.exchange import OURS, SPEC, TARGET, Bench, Keys, call, ec_key, foreign_set, form, jwk, record, rsa_key, token
from fakes.jobs import CIRCLE_ORG, CLUSTER, Claims
from tailseal.tokens.exchange import Answered, NeedKeys
from tailseal.tokens.keyset import parse_jwks

PUBLISHED = import_key(jwk(ec_key("ours"), "k1", "ES256"))
GITHUB = {"ownerID": "65", "repository": "app", "branches": ["main"], "refProtected": True}
CLASSIC = "repo:acme/app:ref:refs/heads/main"
WITH_IDS = "repo:acme@65/app@74:ref:refs/heads/main"
GHES = "https://ghes.corp.example/_services/token"
EXCHANGES: list[tuple[str, dict[str, Any], Claims]] = [
    ("github", GITHUB, jobs.github(CLASSIC)),
    ("github", GITHUB, jobs.github(WITH_IDS)),
    ("github", GITHUB | {"issuer": GHES}, jobs.github(iss=GHES)),
    ("gitlab", {"projectID": "20", "refs": ["main"], "refProtected": True}, jobs.gitlab()),
    ("buildkite", {"organizationID": jobs.buildkite()["organization_id"], "steps": ["deploy"]}, jobs.buildkite()),
    ("circleci", {"organizationID": CIRCLE_ORG, "refs": ["refs/heads/main"]}, jobs.circleci()),
    ("terraform", {"organizationID": "org-GRNbCjYNpBB6NEBH", "runPhases": ["apply"]}, jobs.terraform()),
    ("kubernetes", {"issuer": CLUSTER, "namespaces": ["shop"], "serviceAccounts": ["deployer"]}, jobs.kubernetes()),
]
TENANTS = {
    "github": {"repository_owner_id": "66"},
    "gitlab": {"project_id": "21", "job_project_id": "21"},
    "buildkite": {"organization_id": "0184990a-477b-4fa8-9968-496074483aab"},
    "circleci": {"iss": "https://oidc.circleci.com/org/0f5a1c2e-1111-4222-8333-944455556667"},
    "terraform": {"terraform_organization_id": "org-x"},
    "kubernetes": {"sub": "system:serviceaccount:evil:deployer"},
}
"""What another tenant's token of the same shape says instead."""


def bench(member: str, block: dict[str, Any], issuer: str) -> Bench:
    """An exchange that trusts the block, with the issuer's keys in hand."""
    made = Bench(record(SPEC | {"from": {member: block}}))
    made.keys = Keys(dict.fromkeys(made.index.issuers(issuer), foreign_set()))
    return made


def presented(claims: Claims) -> str:
    """The token, for us; CircleCI's keeps the audience that it always has."""
    return token(claims if claims["aud"] == CIRCLE_ORG else claims | {"aud": OURS})


@pytest.mark.parametrize(("member", "block", "claims"), EXCHANGES)
def test_a_job_gets_a_token_for_what_the_policy_grants(member: str, block: dict[str, Any], claims: Claims) -> None:
    status, answer = bench(member, block, claims["iss"]).answer(call(form(presented(claims), scope="read")))
    assert (status, answer.get("tailseal_reason")) == (200, None)
    issued = joserfc_jwt.decode(answer["access_token"], PUBLISHED, algorithms=["ES256"])
    assert (issued.header["typ"], issued.claims["aud"], issued.claims["scope"]) == ("at+jwt", TARGET, "read")
    assert issued.claims["sub"] == "policy:identity/ci"


@pytest.mark.parametrize(("member", "block", "claims"), EXCHANGES)
def test_another_tenants_job_gets_nothing(member: str, block: dict[str, Any], claims: Claims) -> None:
    outcome = bench(member, block, claims["iss"]).step(call(form(presented(claims | TENANTS[member]))))
    assert isinstance(outcome, Answered)
    answer = json.loads(outcome.response.body)
    assert (outcome.response.status, answer["error"]) == (400, "invalid_request")
    assert outcome.reason == ("UnknownIssuer" if member == "circleci" else "NoPolicyMatches")
    assert "access_token" not in answer


@pytest.mark.parametrize(("member", "block", "claims"), EXCHANGES)
def test_keys_are_asked_for_where_the_provider_shows_them(member: str, block: dict[str, Any], claims: Claims) -> None:
    made = bench(member, block, claims["iss"])
    made.keys = Keys()
    need = made.step(call(form(presented(claims))))
    assert isinstance(need, NeedKeys)
    assert need.sources[0].location == claims["iss"] + "/.well-known/openid-configuration"


def test_a_pods_token_is_verified_by_keys_that_stand_in_the_policy_and_by_no_others() -> None:
    public = jwk(ec_key("cluster"), "c1", "ES256")
    block = {"issuer": CLUSTER, "namespaces": ["shop"], "boundTo": "Pod", "keys": {"jwks": {"keys": [public]}}}
    made = Bench(record(SPEC | {"from": {"kubernetes": block}}))
    (source,) = made.index.issuers(CLUSTER)
    made.keys = Keys({source: parse_jwks(source.jwks.encode())})
    claims = jobs.kubernetes(aud=[OURS])
    head = {"alg": "ES256", "kid": "c1"}
    assert made.reason(token(claims, header=head, key=ec_key("cluster"), alg="ES256")) == ""
    assert made.reason(token(claims, header=head, key=ec_key("stranger"), alg="ES256")) == "BadSignature"
    assert made.reason(token(claims, header={"alg": "RS256", "kid": "c1"}, key=rsa_key("stranger"))) != ""


def test_tokens_of_one_github_meet_the_policies_of_another_never() -> None:
    block = {"from": {"github": GITHUB | {"issuer": GHES}}}
    made = Bench(record(SPEC | {"from": {"github": GITHUB}}, "public"), record(SPEC | block, "own"))
    made.keys = Keys(
        {source: foreign_set() for iss in (GHES, jobs.github()["iss"]) for source in made.index.issuers(iss)}
    )
    policies = [
        made.step(call(form(presented(claims)))).audit["policy"] for claims in (jobs.github(), jobs.github(iss=GHES))
    ]
    assert policies == ["identity/public", "identity/own"]
