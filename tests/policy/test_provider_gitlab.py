"""The `gitlab` block against real tokens of GitLab, and against tokens that come near."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import jobs
from fakes.jobs import Claims, findings, trusts
from tailseal.api.reasons import Reason

APP = {"projectID": "20", "project": "acme/tools/app"}
MAIN = APP | {"refs": ["main"], "refProtected": True}
PROD = APP | {"environments": ["production"], "environmentProtected": True}
MERGE = {"pipeline_source": "merge_request_event", "ref_protected": "false"}
FORK = {"project_id": "999", "namespace_id": "888", "project_path": "mallory/app", "namespace_path": "mallory"}


@pytest.mark.parametrize(
    ("block", "claims"),
    [
        (APP, jobs.gitlab()),
        (MAIN, jobs.gitlab()),
        (MAIN, jobs.gitlab(sub="project_path:acme/tools/app")),
        (PROD, jobs.gitlab()),
        ({"namespaceID": "72", "namespace": "acme/*"}, jobs.gitlab()),
        ({"namespaceID": "72", "project": "acme/**"}, jobs.gitlab()),
        (APP | {"refs": ["v*"], "refType": "tag"}, jobs.gitlab(ref="v1.0", ref_type="tag", ref_path="refs/tags/v1.0")),
        (APP | {"refType": "tag"}, jobs.gitlab(ref="v1.0", ref_type="tag")),
        (APP | {"refProtected": False}, jobs.gitlab(ref_protected="false")),
        (
            APP | {"environments": ["review/*"]},
            jobs.gitlab(environment="review/feature", environment_protected="false"),
        ),
        (APP | {"pipelineSources": ["merge_request_event"]}, jobs.gitlab(**MERGE)),
        (APP | {"pipelineSources": ["push", "web"]}, jobs.gitlab(pipeline_source="web")),
        (
            APP | {"ciConfigs": ["gitlab.com/acme/tools/app//.gitlab-ci.yml@refs/heads/main"]},
            jobs.gitlab(),
        ),
        (MAIN, jobs.without(jobs.gitlab(), "job_project_id", "job_project_path", "job_namespace_id")),
        ({"issuer": "https://git.corp.example", "project": "acme/*/app"}, jobs.gitlab(iss="https://git.corp.example")),
    ],
)
def test_gitlab_trusts_the_jobs_that_are_meant(block: dict[str, Any], claims: Claims) -> None:
    assert trusts("gitlab", block, claims)


@pytest.mark.parametrize(
    ("attack", "block", "claims"),
    [
        ("another group's project of that name", MAIN, jobs.gitlab(project_path="evil/tools/app", project_id="21")),
        ("the path, taken over by somebody else", MAIN, jobs.gitlab(project_id="21", job_project_id="21")),
        (
            "the group's path, taken over",
            {"namespaceID": "72", "namespace": "acme/tools"},
            jobs.gitlab(namespace_id="73"),
        ),
        ("an id as a number", MAIN, jobs.gitlab(project_id=20, job_project_id=20)),
        ("an id with a zero before it", MAIN, jobs.gitlab(project_id="020", job_project_id="020")),
        ("the path in another case", MAIN, jobs.gitlab(project_path="Acme/tools/app")),
        ("a group more", {"namespaceID": "72", "project": "acme/*/app"}, jobs.gitlab(project_path="acme/a/b/app")),
        (
            "a group more in the namespace",
            {"projectID": "20", "namespace": "acme/*"},
            jobs.gitlab(namespace_path="acme/a/b"),
        ),
        ("a boolean for the word", MAIN, jobs.gitlab(ref_protected=True)),
        ("the number one for the word", MAIN, jobs.gitlab(ref_protected=1)),
        ("the word false", MAIN, jobs.gitlab(ref_protected="false")),
        ("a boolean for the environment's word", PROD, jobs.gitlab(environment_protected=True)),
        ("an environment that nobody protects", PROD, jobs.gitlab(environment_protected="false")),
        ("a job without environment", PROD, jobs.without(jobs.gitlab(), "environment", "environment_protected")),
        (
            "a branch that looks like an environment",
            PROD,
            jobs.without(jobs.gitlab(ref="main:environment:production"), "environment"),
        ),
        ("a tag of the branch's name", MAIN, jobs.gitlab(ref_type="tag", ref_path="refs/tags/main")),
        ("a branch of the tag's name", APP | {"refs": ["v*"], "refType": "tag"}, jobs.gitlab(ref="v1")),
        ("a branch below the branch", MAIN, jobs.gitlab(ref="main/x")),
        ("a branch that writes its ref out", MAIN, jobs.gitlab(ref="refs/heads/main")),
        ("a merge request", APP, jobs.gitlab(**MERGE)),
        ("a merge request from a branch of that name", APP | {"refs": ["main"]}, jobs.gitlab(**MERGE)),
        ("a child of any pipeline", APP, jobs.gitlab(pipeline_source="parent_pipeline")),
        ("a pull request from elsewhere", APP, jobs.gitlab(pipeline_source="external_pull_request_event")),
        ("no source", APP, jobs.without(jobs.gitlab(), "pipeline_source")),
        ("a source that is not listed", APP | {"pipelineSources": ["push"]}, jobs.gitlab(pipeline_source="trigger")),
        ("a fork's merge request", APP | {"pipelineSources": ["merge_request_event"]}, jobs.gitlab(**MERGE, **FORK)),
        (
            "our own merge request to somebody else, run in his project",
            APP | {"pipelineSources": ["merge_request_event"]},
            jobs.gitlab(**MERGE, job_project_id="999"),
        ),
        (
            "a merge request at a GitLab that does not tell where it runs",
            APP | {"pipelineSources": ["merge_request_event"]},
            jobs.without(jobs.gitlab(**MERGE), "job_project_id"),
        ),
        ("the place of the job as a number", APP, jobs.gitlab(job_project_id=20)),
        ("another GitLab", MAIN, jobs.gitlab(iss="https://gitlab.com.evil.example")),
        ("gitlab.com for one's own", MAIN | {"issuer": "https://git.corp.example"}, jobs.gitlab()),
        (
            "a definition at another ref",
            APP | {"ciConfigs": ["gitlab.com/acme/tools/app//.gitlab-ci.yml@refs/heads/main"]},
            jobs.gitlab(ci_config_ref_uri="gitlab.com/acme/tools/app//.gitlab-ci.yml@refs/heads/dev"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_gitlab_refuses_what_comes_near(attack: str, block: dict[str, Any], claims: Claims) -> None:
    assert not trusts("gitlab", block, claims), attack


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"projectID": "20"}, set()),
        ({"namespaceID": "72"}, set()),
        ({"project": "acme/tools/app"}, {("spec.from.gitlab", Reason.TENANT_NOT_PINNED)}),
        ({}, {("spec.from.gitlab", Reason.TENANT_NOT_PINNED)}),
        ({"issuer": "https://git.corp.example"}, set()),
        (
            {"projectID": "20", "pipelineSources": ["*"]},
            {("spec.from.gitlab.pipelineSources[0]", Reason.INVALID_SPEC)},
        ),
        ({"projectID": "20", "project": "a" * 10 + "***"}, {("spec.from.gitlab.project", Reason.INVALID_SPEC)}),
    ],
)
def test_gitlab_says_what_is_wrong_with_a_block(block: dict[str, Any], expected: set[tuple[str, Reason]]) -> None:
    assert findings("gitlab", block) == expected
