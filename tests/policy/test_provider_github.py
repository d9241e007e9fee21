"""The `github` block against real tokens of GitHub, and against tokens that come near."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import jobs
from fakes.jobs import Claims, findings, policy, trusts
from tailseal.api.reasons import Reason

APP = {"ownerID": "65", "owner": "acme", "repository": "app", "repositoryID": "74"}
MAIN = APP | {"branches": ["main"]}
PROD = APP | {"environments": ["prod"]}
FORKED = {"event_name": "pull_request", "ref": "refs/pull/7/merge", "head_ref": "main", "base_ref": "main"}


@pytest.mark.parametrize(
    ("block", "claims"),
    [
        (APP, jobs.github()),
        (MAIN, jobs.github()),
        (MAIN, jobs.github("repo:acme@65/app@74:ref:refs/heads/main")),
        (MAIN, jobs.github("repository_owner_id:65:ref:refs/heads/main")),
        ({"ownerID": "65"}, jobs.github()),
        ({"repositoryID": "74"}, jobs.github()),
        ({"enterpriseID": "3"}, jobs.github()),
        ({"ownerID": "65", "repository": "app"}, jobs.github()),
        (APP | {"refs": ["refs/heads/main"], "refProtected": True}, jobs.github()),
        (APP | {"refProtected": False}, jobs.github(ref_protected="false")),
        (APP | {"branches": ["release/*"]}, jobs.github(ref="refs/heads/release/1")),
        (APP | {"branches": ["main"], "tags": ["v*"]}, jobs.github(ref="refs/tags/v1.2", ref_type="tag")),
        (PROD, jobs.github("repo:acme/app:environment:prod", environment="prod")),
        (PROD, jobs.github("repo:acme@65/app@74:environment:prod", environment="prod")),
        (
            APP | {"environments": ["eu:prod"]},
            jobs.github("repo:acme/app:environment:eu%3Aprod", environment="eu:prod"),
        ),
        (APP | {"events": ["push", "workflow_d*"]}, jobs.github(event_name="workflow_dispatch")),
        (APP | {"events": ["pull_request"]}, jobs.github("repo:acme/app:pull_request", **FORKED)),
        (APP | {"events": ["push", "pull_request"]}, jobs.github("repo:acme/app:pull_request", **FORKED)),
        (APP | {"events": ["workflow_run"]}, jobs.github(event_name="workflow_run")),
        (
            {"ownerID": "65", "workflows": ["acme/ci/.github/workflows/deploy.yml@refs/heads/main"]},
            jobs.github(job_workflow_ref="acme/ci/.github/workflows/deploy.yml@refs/heads/main"),
        ),
        (
            {"ownerID": "65", "workflows": ["acme/ci/.github/workflows/*@refs/tags/v*"]},
            jobs.github(job_workflow_ref="acme/ci/.github/workflows/deploy.yml@refs/tags/v2"),
        ),
        (
            MAIN | {"issuer": "https://token.actions.corp.ghe.com"},
            jobs.github(iss="https://token.actions.corp.ghe.com"),
        ),
        (
            MAIN | {"issuer": "https://token.actions.githubusercontent.com/corp"},
            jobs.github(iss="https://token.actions.githubusercontent.com/corp"),
        ),
        (
            {"issuer": "https://ghes.corp.example/_services/token", "owner": "acme", "repository": "app"},
            jobs.without(
                jobs.github(iss="https://ghes.corp.example/_services/token"), "enterprise_id", "runner_environment"
            ),
        ),
    ],
)
def test_github_trusts_the_jobs_that_are_meant(block: dict[str, Any], claims: Claims) -> None:
    assert trusts("github", block, claims)


@pytest.mark.parametrize(
    ("attack", "block", "claims"),
    [
        ("another organisation's repository of that name", MAIN, jobs.github(repository="evil/app")),
        ("the name, taken over by another owner", MAIN, jobs.github(repository_owner_id="66")),
        ("the name, made anew by the same owner", MAIN, jobs.github(repository_id="75")),
        ("an id that begins alike", MAIN, jobs.github(repository_owner_id="650")),
        ("an id as a number", MAIN, jobs.github(repository_owner_id=65)),
        ("an id in a list", MAIN, jobs.github(repository_owner_id=["65"])),
        ("no id at all", MAIN, jobs.without(jobs.github(), "repository_owner_id")),
        (
            "the ids in sub only",
            MAIN,
            jobs.without(jobs.github("repo:acme@65/app@74:ref:refs/heads/main"), "repository_owner_id"),
        ),
        ("the owner in another case", MAIN, jobs.github(repository_owner="Acme", repository="Acme/app")),
        ("the repository in another case", MAIN, jobs.github(repository="acme/App")),
        ("a Cyrillic twin", MAIN, jobs.github(repository="\u0430cme/app")),
        (
            "a repository whose name ends alike",
            {"ownerID": "65", "repository": "app"},
            jobs.github(repository="a/xapp"),
        ),
        ("one path segment more", {"ownerID": "65", "repository": "app"}, jobs.github(repository="acme/x/app")),
        ("a line break after the branch", MAIN, jobs.github(ref="refs/heads/main\n")),
        ("a branch below the branch", MAIN, jobs.github(ref="refs/heads/main/x")),
        ("a branch that ends alike", MAIN, jobs.github(ref="refs/heads/x/main")),
        ("a tag of the branch's name", MAIN, jobs.github(ref="refs/tags/main", ref_type="tag")),
        ("a branch called like the whole ref", MAIN, jobs.github(ref="refs/heads/refs/heads/main")),
        ("a star that meets a slash", APP | {"branches": ["release/*"]}, jobs.github(ref="refs/heads/release/1/x")),
        ("a star that meets a slash in a tag", APP | {"tags": ["v*"]}, jobs.github(ref="refs/tags/v1/x")),
        ("a boolean for the word", APP | {"refProtected": True}, jobs.github(ref_protected=True)),
        ("the word false", APP | {"refProtected": True}, jobs.github(ref_protected="false")),
        ("the word in capitals", APP | {"refProtected": True}, jobs.github(ref_protected="True")),
        ("a job without environment", PROD, jobs.github()),
        (
            "a branch that looks like an environment",
            PROD,
            jobs.github("repo:acme/app:ref:refs/heads/environment:prod", ref="refs/heads/environment:prod"),
        ),
        ("a subject that says environment alone", PROD, jobs.github("repo:acme/app:environment:prod")),
        (
            "an environment with an escape in its name",
            APP | {"environments": ["eu:prod"]},
            jobs.github("repo:acme/app:environment:eu%253Aprod", environment="eu%3Aprod"),
        ),
        ("an environment with more after a colon", PROD, jobs.github(environment="prod:ref:refs/heads/main")),
        ("a star that meets a colon", APP | {"environments": ["prod*"]}, jobs.github(environment="prod:x")),
        ("a pull request", APP, jobs.github("repo:acme/app:pull_request", **FORKED)),
        ("a pull request with an environment", PROD, jobs.github(environment="prod", event_name="pull_request")),
        ("a pull request in the base's context", MAIN, jobs.github(event_name="pull_request_target")),
        ("a review of a pull request", MAIN, jobs.github(event_name="pull_request_review")),
        ("a comment of anybody", MAIN, jobs.github(event_name="issue_comment")),
        ("what follows on a fork's pull request", MAIN, jobs.github(event_name="workflow_run")),
        ("a later kind of pull request", APP, jobs.github(event_name="pull_request_merge")),
        ("another event of strangers", APP | {"events": ["pull_request"]}, jobs.github(event_name="issues")),
        ("an event that is not listed", APP | {"events": ["push"]}, jobs.github(event_name="schedule")),
        ("no event", APP, jobs.without(jobs.github(), "event_name")),
        ("an event in a list", APP, jobs.github(event_name=["push"])),
        (
            "a workflow of the caller that is called alike",
            {"ownerID": "65", "workflows": ["acme/ci/.github/workflows/*@refs/heads/main"]},
            jobs.github(job_workflow_ref="acme/ci/.github/workflows/x.yml@refs/heads/dev@refs/heads/main"),
        ),
        (
            "a workflow at another ref",
            {"ownerID": "65", "workflows": ["acme/ci/.github/workflows/deploy.yml@refs/heads/main"]},
            jobs.github(job_workflow_ref="acme/ci/.github/workflows/deploy.yml@refs/heads/dev"),
        ),
        ("another issuer of GitHub", MAIN, jobs.github(iss="https://token.actions.githubusercontent.com/evil")),
        ("the issuer with a slash", MAIN, jobs.github(iss="https://token.actions.githubusercontent.com/")),
        (
            "github.com for a server of one's own",
            MAIN | {"issuer": "https://token.actions.corp.ghe.com"},
            jobs.github(),
        ),
        ("a token for somebody else", MAIN, jobs.github(aud="https://github.com/acme")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_github_refuses_what_comes_near(attack: str, block: dict[str, Any], claims: Claims) -> None:
    assert not trusts("github", block, claims), attack


@pytest.mark.parametrize(
    ("block", "path", "reason"),
    [
        ({}, "spec.from.github", Reason.TENANT_NOT_PINNED),
        ({"owner": "acme"}, "spec.from.github", Reason.TENANT_NOT_PINNED),
        ({"owner": "acme", "repository": "app"}, "spec.from.github", Reason.TENANT_NOT_PINNED),
        ({"workflows": ["acme/ci/x.yml@refs/heads/main"]}, "spec.from.github", Reason.TENANT_NOT_PINNED),
        ({"ownerID": "65", "events": ["pull_*"]}, "spec.from.github.events[0]", Reason.INVALID_SPEC),
        ({"ownerID": "65", "events": ["push", "pull_request*"]}, "spec.from.github.events[1]", Reason.INVALID_SPEC),
        ({"ownerID": "65", "events": ["workflow_*"]}, "spec.from.github.events[0]", Reason.INVALID_SPEC),
        ({"ownerID": "65", "events": ["*"]}, "spec.from.github.events[0]", Reason.INVALID_SPEC),
        ({"ownerID": "65", "branches": ["main", "***"]}, "spec.from.github.branches[1]", Reason.INVALID_SPEC),
        ({"repository": "app", "repositoryID": "74"}, "spec.from.github", Reason.INVALID_SPEC),
    ],
)
def test_github_says_what_is_wrong_with_a_block(block: dict[str, Any], path: str, reason: Reason) -> None:
    assert findings("github", block) == {(path, reason)}


@pytest.mark.parametrize("member", ["ownerID", "repositoryID", "enterpriseID"])
def test_an_id_pins_github_to_one_tenant(member: str) -> None:
    assert findings("github", {member: "65"}) == set()


def test_a_trace_names_the_members_of_the_block() -> None:
    rules = policy("github", MAIN | {"environments": ["a", "b*"]}).trust.rules
    assert [(rule.field.removeprefix("spec.from.github."), rule.expected) for rule in rules] == [
        ("ownerID", "65"),
        ("owner", "acme"),
        ("repositoryID", "74"),
        ("repository", "acme/app"),
        ("branches", "refs/heads/main"),
        ("events", "none that strangers can bring about"),
        ("environments", "a, b*"),
    ]
