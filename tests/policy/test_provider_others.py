"""The blocks of Buildkite, CircleCI and HCP Terraform against real tokens, and against tokens that come near."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import jobs, trust
from fakes.jobs import CIRCLE, CIRCLE_ORG, Claims, findings, trusts
from tailseal.api.reasons import Reason

ORG = {"organizationID": "0184990a-477b-4fa8-9968-496074483aaa"}
PIPELINE = ORG | {"organization": "acme", "pipelines": ["app"], "refs": ["refs/heads/main"], "steps": ["deploy"]}
PROJECT = {"organizationID": CIRCLE_ORG, "projectIDs": ["0f5a1c2e-1111-4222-8333-9444555577aa"]}
ORIGIN = PROJECT | {"origins": ["github.com/acme/app"], "refs": ["refs/heads/main"]}
CONTEXT = PROJECT | {"contextIDs": ["0f5a1c2e-1111-4222-8333-9444555599cc"]}
OTHER_ORG = "0f5a1c2e-1111-4222-8333-944455556667"
SPACE = {"organizationID": "org-GRNbCjYNpBB6NEBH", "projects": ["Default Project"], "workspaces": ["network-*"]}


@pytest.mark.parametrize(
    ("member", "block", "claims"),
    [
        ("buildkite", ORG, jobs.buildkite()),
        ("buildkite", PIPELINE, jobs.buildkite()),
        ("buildkite", PIPELINE, jobs.buildkite(sub="0184990a-477b-4fa8-9968-496074483bbb")),
        ("buildkite", PIPELINE, jobs.without(jobs.buildkite(), "build_tag")),
        ("buildkite", PIPELINE, jobs.buildkite(build_tag="")),
        ("buildkite", {"pipelineID": "0184990a-477b-4fa8-9968-496074483bbb"}, jobs.buildkite(step_key=None)),
        ("buildkite", ORG | {"refs": ["refs/tags/v*"]}, jobs.buildkite(build_branch="v1", build_tag="v1")),
        ("circleci", {"organizationID": CIRCLE_ORG}, jobs.circleci()),
        ("circleci", PROJECT, jobs.circleci(aud=trust.STS)),
        ("circleci", ORIGIN, jobs.circleci()),
        ("circleci", CONTEXT, jobs.circleci()),
        ("circleci", CONTEXT, jobs.circleci(**{CIRCLE + "context-ids": ["x", *CONTEXT["contextIDs"]]})),
        (
            "circleci",
            ORIGIN,
            jobs.circleci(
                sub=f"org/{CIRCLE_ORG}/project/p/user/u/vcs-origin/github.com/acme/app/vcs-ref/refs/heads/main"
            ),
        ),
        ("circleci", PROJECT, jobs.without(jobs.circleci(), CIRCLE + "vcs-ref", CIRCLE + "vcs-origin")),
        ("circleci", PROJECT | {"refs": ["refs/pull/*"]}, jobs.circleci(**{CIRCLE + "vcs-ref": "refs/pull/7"})),
        ("terraform", SPACE, jobs.terraform()),
        ("terraform", SPACE | {"runPhases": ["apply"]}, jobs.terraform()),
        (
            "terraform",
            SPACE | {"runPhases": ["plan"]},
            jobs.terraform(
                sub="organization:acme:project:Default Project:workspace:network-prod:run_phase:plan",
                terraform_run_phase="plan",
            ),
        ),
        (
            "terraform",
            {"organizationID": "org-GRNbCjYNpBB6NEBH", "workspaces": ["network-prod"]},
            jobs.without(
                jobs.terraform(sub="organization:acme:workspace:network-prod:run_phase:apply"),
                "terraform_project_id",
                "terraform_project_name",
            ),
        ),
        ("terraform", {"workspaceID": "ws-mbsd5E3Ktt5Rg2Xm", "organization": "acme"}, jobs.terraform()),
        ("terraform", {"projectID": "prj-vegSA59s1XPwMr2t"}, jobs.terraform()),
        (
            "terraform",
            {"issuer": "https://tfe.corp.example", "organization": "acme"},
            jobs.terraform(iss="https://tfe.corp.example"),
        ),
    ],
)
def test_the_jobs_that_are_meant_are_trusted(member: str, block: dict[str, Any], claims: Claims) -> None:
    assert trusts(member, block, claims)


@pytest.mark.parametrize(
    ("attack", "member", "block", "claims"),
    [
        ("another organisation's pipeline of that name", "buildkite", PIPELINE, jobs.buildkite(organization_id="x")),
        ("a job that asked for no ids", "buildkite", PIPELINE, jobs.without(jobs.buildkite(), "organization_id")),
        (
            "the id in sub only",
            "buildkite",
            ORG,
            jobs.without(jobs.buildkite(sub=ORG["organizationID"]), "organization_id"),
        ),
        ("the slug in another case", "buildkite", PIPELINE, jobs.buildkite(organization_slug="Acme")),
        ("a pipeline that begins alike", "buildkite", PIPELINE, jobs.buildkite(pipeline_slug="app-2")),
        ("a tag of the branch's name", "buildkite", PIPELINE, jobs.buildkite(build_tag="main")),
        ("a tag that is no text", "buildkite", PIPELINE, jobs.buildkite(build_tag=0)),
        ("a number for a tag", "buildkite", ORG | {"refs": ["refs/tags/*"]}, jobs.buildkite(build_tag=7)),
        ("a tag that is false", "buildkite", PIPELINE, jobs.buildkite(build_tag=False)),
        ("no branch", "buildkite", PIPELINE, jobs.buildkite(build_branch=None)),
        ("a branch that is no text", "buildkite", PIPELINE, jobs.buildkite(build_branch=["main"])),
        ("a branch below the branch", "buildkite", PIPELINE, jobs.buildkite(build_branch="main/x")),
        ("a branch that carries a step", "buildkite", PIPELINE, jobs.buildkite(build_branch="main:step:deploy")),
        ("a fork's branch", "buildkite", ORG | {"refs": ["refs/heads/*"]}, jobs.buildkite(build_branch="mallory:main")),
        ("no step", "buildkite", PIPELINE, jobs.buildkite(step_key=None)),
        ("another step", "buildkite", PIPELINE, jobs.buildkite(step_key="deploy:x")),
        ("a tag that holds a ref", "buildkite", PIPELINE, jobs.buildkite(build_tag="refs/heads/main")),
        (
            "another organisation",
            "circleci",
            PROJECT,
            jobs.circleci(iss=f"https://oidc.circleci.com/org/{OTHER_ORG}"),
        ),
        (
            "an organisation that names ours in everything else",
            "circleci",
            {"organizationID": CIRCLE_ORG},
            jobs.circleci(iss=f"https://oidc.circleci.com/org/{CIRCLE_ORG}/x"),
        ),
        ("another project", "circleci", PROJECT, jobs.circleci(**{CIRCLE + "project-id": OTHER_ORG})),
        (
            "the project's id in capitals",
            "circleci",
            PROJECT,
            jobs.circleci(**{CIRCLE + "project-id": PROJECT["projectIDs"][0].upper()}),
        ),
        ("the project in sub only", "circleci", PROJECT, jobs.without(jobs.circleci(), CIRCLE + "project-id")),
        ("a fork's code", "circleci", ORIGIN, jobs.circleci(**{CIRCLE + "vcs-origin": "github.com/mallory/app"})),
        (
            "a host that ends alike",
            "circleci",
            ORIGIN,
            jobs.circleci(**{CIRCLE + "vcs-origin": "evil.example/github.com/acme/app"}),
        ),
        ("a pull request", "circleci", PROJECT, jobs.circleci(**{CIRCLE + "vcs-ref": "refs/pull/7"})),
        ("a fork's pull request", "circleci", PROJECT, jobs.circleci(**{CIRCLE + "vcs-ref": "refs/heads/pull/7"})),
        (
            "a pull request behind two stars",
            "circleci",
            PROJECT | {"refs": ["refs/heads/**"]},
            jobs.circleci(**{CIRCLE + "vcs-ref": "refs/heads/pull/7"}),
        ),
        ("a ref that is no text", "circleci", PROJECT, jobs.circleci(**{CIRCLE + "vcs-ref": ["refs/heads/main"]})),
        ("no ref", "circleci", ORIGIN, jobs.without(jobs.circleci(), CIRCLE + "vcs-ref")),
        ("no context", "circleci", CONTEXT, jobs.circleci(**{CIRCLE + "context-ids": []})),
        ("another context", "circleci", CONTEXT, jobs.circleci(**{CIRCLE + "context-ids": [OTHER_ORG]})),
        (
            "contexts in a text",
            "circleci",
            CONTEXT,
            jobs.circleci(**{CIRCLE + "context-ids": CONTEXT["contextIDs"][0]}),
        ),
        ("a token for another service", "circleci", PROJECT, jobs.circleci(aud="https://vault.corp.example")),
        (
            "the organisation's audience where another is asked for",
            "circleci",
            PROJECT | {"audiences": [trust.STS]},
            jobs.circleci(),
        ),
        ("another organisation of that name", "terraform", SPACE, jobs.terraform(terraform_organization_id="org-x")),
        ("another project", "terraform", SPACE, jobs.terraform(terraform_project_name="Default Project 2")),
        ("a workspace that ends alike", "terraform", SPACE, jobs.terraform(terraform_workspace_name="x-network-prod")),
        (
            "a workspace with more",
            "terraform",
            SPACE,
            jobs.terraform(terraform_workspace_name="network-a:run_phase:apply"),
        ),
        (
            "no project where one is asked for",
            "terraform",
            SPACE,
            jobs.without(jobs.terraform(), "terraform_project_name"),
        ),
        ("a plan", "terraform", SPACE | {"runPhases": ["apply"]}, jobs.terraform(terraform_run_phase="plan")),
        (
            "a plan whose subject says apply",
            "terraform",
            SPACE | {"runPhases": ["apply"]},
            jobs.terraform(sub=jobs.terraform()["sub"], terraform_run_phase="plan"),
        ),
        ("another phase", "terraform", SPACE, jobs.terraform(terraform_run_phase="test")),
        ("a stack's deployment", "terraform", SPACE, jobs.without(jobs.terraform(), "terraform_run_phase")),
        ("ids in sub only", "terraform", SPACE, jobs.without(jobs.terraform(), "terraform_organization_id")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_comes_near_is_refused(attack: str, member: str, block: dict[str, Any], claims: Claims) -> None:
    assert not trusts(member, block, claims), attack


@pytest.mark.parametrize(
    ("member", "block", "pinned"),
    [
        ("buildkite", {}, False),
        ("buildkite", {"organization": "acme", "pipelines": ["app"]}, False),
        ("buildkite", ORG, True),
        ("buildkite", {"pipelineID": ORG["organizationID"]}, True),
        ("terraform", {}, False),
        ("terraform", {"organization": "acme", "workspaces": ["network-prod"]}, False),
        ("terraform", {"organizationID": "org-x"}, True),
        ("terraform", {"projectID": "prj-x"}, True),
        ("terraform", {"workspaceID": "ws-x"}, True),
        ("terraform", {"issuer": "https://tfe.corp.example"}, True),
    ],
)
def test_an_issuer_of_many_organisations_must_be_pinned_by_an_id(
    member: str, block: dict[str, Any], *, pinned: bool
) -> None:
    expected = set() if pinned else {(f"spec.from.{member}", Reason.TENANT_NOT_PINNED)}
    assert findings(member, block) == expected


def test_the_audience_of_an_organisation_of_circleci_is_within_bounds_or_not_taken() -> None:
    under = trust.settings(bounds=(trust.ANYTHING.model_copy(update={"subject_audiences": ()}),))
    assert findings("circleci", PROJECT, under) == {("spec.from.circleci.audiences", Reason.EXCEEDS_BOUNDS)}
    assert findings("circleci", PROJECT | {"audiences": [trust.STS]}, under) == set()
