"""Whatever else a block and a token say: the id of another tenant never matches, and the index loses no match."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import jobs, trust
from fakes.jobs import Claims, policy
from fakes.trust import verdict
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.matchers import Verdict
from tailseal.domain.tenancy import bounds

Member = tuple[str, str]
"""Name of a member of a block, and of the claim that it is about."""

TOKENS = {
    "github": jobs.github(environment="prod"),
    "gitlab": jobs.gitlab(),
    "buildkite": jobs.buildkite(build_tag="v1"),
    "terraform": jobs.terraform(),
}
IDS: dict[str, tuple[Member, ...]] = {
    "github": (
        ("ownerID", "repository_owner_id"),
        ("repositoryID", "repository_id"),
        ("enterpriseID", "enterprise_id"),
    ),
    "gitlab": (("projectID", "project_id"), ("namespaceID", "namespace_id")),
    "buildkite": (("organizationID", "organization_id"), ("pipelineID", "pipeline_id")),
    "terraform": (
        ("organizationID", "terraform_organization_id"),
        ("projectID", "terraform_project_id"),
        ("workspaceID", "terraform_workspace_id"),
    ),
}
LISTS: dict[str, tuple[Member, ...]] = {
    "github": (
        ("refs", "ref"),
        ("environments", "environment"),
        ("events", "event_name"),
        ("workflows", "job_workflow_ref"),
    ),
    "gitlab": (
        ("refs", "ref"),
        ("environments", "environment"),
        ("pipelineSources", "pipeline_source"),
        ("ciConfigs", "ci_config_ref_uri"),
    ),
    "buildkite": (("pipelines", "pipeline_slug"), ("steps", "step_key")),
    "terraform": (("projects", "terraform_project_name"), ("workspaces", "terraform_workspace_name")),
}
WORDS = st.text("ab/:@%.-*1", min_size=1, max_size=12).filter(lambda word: "***" not in word and word.count("*") < 4)
ANY = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.lists(st.text(max_size=3), max_size=2))


@st.composite
def blocks(draw: st.DrawFn, provider: str, claims: Claims) -> dict[str, Any]:
    """A block with one id of the token's tenant at least; its patterns may be the token's own values."""
    ids = draw(st.lists(st.sampled_from(IDS[provider]), min_size=1, unique=True))
    lists = draw(st.lists(st.sampled_from(LISTS[provider]), unique=True))
    block: dict[str, Any] = {member: claims[claim] for member, claim in ids}
    for member, claim in lists:
        globs = [word for word in draw(st.lists(WORDS, max_size=3, unique=True)) if member[:1] not in "ep"]
        block[member] = sorted({*globs, claims[claim]})
    return block


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, dict[str, Any], Claims]:
    provider = draw(st.sampled_from(sorted(TOKENS)))
    return provider, draw(blocks(provider, TOKENS[provider])), TOKENS[provider]


@given(cases(), st.data())
def test_a_block_never_matches_a_token_of_another_tenant(
    case: tuple[str, dict[str, Any], Claims], data: st.DataObject
) -> None:
    provider, block, claims = case
    member, claim = data.draw(st.sampled_from([entry for entry in IDS[provider] if entry[0] in block]))
    other = data.draw(ANY.filter(lambda value: value != claims[claim]))
    noise = data.draw(st.dictionaries(st.sampled_from(sorted(claims)), ANY, max_size=4))
    stranger = claims | noise | {claim: other}
    assert verdict(policy(provider, block).trust, stranger) is not Verdict.MATCH, member


@given(cases(), st.data())
def test_what_matches_is_found_through_the_index_and_nothing_that_does_not(
    case: tuple[str, dict[str, Any], Claims], data: st.DataObject
) -> None:
    provider, block, claims = case
    changed = claims | data.draw(st.dictionaries(st.sampled_from(sorted(claims)), ANY, max_size=2))
    made = policy(provider, block)
    found = PolicyIndex([made]).candidates(made.trust.source, [trust.STS], changed)
    matched = verdict(made.trust, changed) is Verdict.MATCH
    assert not matched or list(found) == [made]
    assert verdict(made.trust, claims) is Verdict.MATCH


@given(cases())
def test_a_block_with_an_id_is_pinned_and_one_without_is_not(case: tuple[str, dict[str, Any], Claims]) -> None:
    provider, block, _ = case
    assert bounds.is_pinned(policy(provider, block).trust)
    names = {member: value for member, value in block.items() if member not in dict(IDS[provider])}
    assert not bounds.is_pinned(policy(provider, names).trust)


JSON = st.recursive(ANY, lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=2), max_leaves=4)


@pytest.mark.parametrize(
    ("provider", "block", "claims"),
    [
        ("github", {"ownerID": "65", "repository": "app", "branches": ["*"], "refProtected": True}, jobs.github()),
        (
            "gitlab",
            {"projectID": "20", "refs": ["*"], "project": "acme/*/*", "pipelineSources": ["pu*"]},
            jobs.gitlab(),
        ),
        ("buildkite", {"organization": "acme", "refs": ["refs/heads/*"], "steps": ["d*"]}, jobs.buildkite()),
        ("circleci", {"organizationID": jobs.CIRCLE_ORG, "contextIDs": [jobs.CIRCLE_ORG]}, jobs.circleci()),
        ("terraform", {"organization": "a*", "projects": ["Default*"]}, jobs.terraform()),
        ("kubernetes", {"issuer": jobs.CLUSTER, "namespaces": ["shop"], "pods": ["a*"]}, jobs.kubernetes()),
    ],
)
@given(data=st.data())
def test_every_rule_of_a_trace_has_a_verdict_on_values_of_any_type(
    provider: str, block: dict[str, Any], claims: Claims, data: st.DataObject
) -> None:
    inner = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(claims.get("kubernetes.io", ()), JSON)))
    rules = policy(provider, block).trust.rules
    read = sorted({"build_tag", *(rule.path[0] for rule in rules)})
    noise = data.draw(st.dictionaries(st.sampled_from(read), st.none() | JSON, max_size=8))
    changed = claims | {"kubernetes.io": inner} | noise
    assert all(isinstance(rule.test(changed), Verdict) for rule in rules)
