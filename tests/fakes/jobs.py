"""Tokens as the well-known issuers make them, with every claim that a job really gets, and who trusts them."""

from __future__ import annotations

from typing import Any

from fakes import trust
from fakes.trust import NOW, STS
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.compile import accepted, compile_policy
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, GrantRequest, decide
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource, well_known
from tailseal.domain.policy.trust import Verified

Claims = dict[str, Any]

CIRCLE_ORG = "0f5a1c2e-1111-4222-8333-944455556666"
CIRCLE = "oidc.circleci.com/"
CLUSTER = "https://kubernetes.default.svc.cluster.local"

LOOSE = trust.settings(bounds=(trust.ANYTHING.model_copy(update={"allow_unpinned": True}),))

_TIMES: Claims = {"aud": STS, "iat": int(NOW) - 10, "nbf": int(NOW) - 10, "exp": int(NOW) + 300}


def without(claims: Claims, *names: str) -> Claims:
    """The claims but for some."""
    return {name: value for name, value in claims.items() if name not in names}


def github(sub: str = "repo:acme/app:ref:refs/heads/main", **changes: Any) -> Claims:  # noqa: ANN401
    """A job of GitHub Actions: a push to `main` of acme/app, in the classic form of `sub`."""
    return {
        **_TIMES,
        "iss": "https://token.actions.githubusercontent.com",
        "sub": sub,
        "jti": "2d9ea1b9-4a0a-4d0f-8c35-bd4e2fc6f1f0",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "ref_protected": "true",
        "sha": "9f3182061f1e2cca4702c368cbc039b7dc9d4485",
        "repository": "acme/app",
        "repository_id": "74",
        "repository_owner": "acme",
        "repository_owner_id": "65",
        "repository_visibility": "private",
        "enterprise": "corp",
        "enterprise_id": "3",
        "run_id": "1001",
        "run_number": "10",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
        "actor": "ana",
        "actor_id": "12",
        "workflow": "deploy",
        "workflow_ref": "acme/app/.github/workflows/deploy.yml@refs/heads/main",
        "workflow_sha": "9f3182061f1e2cca4702c368cbc039b7dc9d4485",
        "job_workflow_ref": "acme/app/.github/workflows/deploy.yml@refs/heads/main",
        "job_workflow_sha": "9f3182061f1e2cca4702c368cbc039b7dc9d4485",
        "event_name": "push",
        "head_ref": "",
        "base_ref": "",
        **changes,
    }


def gitlab(**changes: Any) -> Claims:  # noqa: ANN401
    """A job of GitLab CI: a push to the protected branch `main` of acme/tools/app."""
    return {
        **_TIMES,
        "iss": "https://gitlab.com",
        "sub": "project_path:acme/tools/app:ref_type:branch:ref:main",
        "jti": "c82eeb0c-5c6f-4a33-abf5-4c474b92b558",
        "namespace_id": "72",
        "namespace_path": "acme/tools",
        "project_id": "20",
        "project_path": "acme/tools/app",
        "user_id": "1",
        "user_login": "ana",
        "user_email": "ana@corp.example",
        "user_access_level": "developer",
        "pipeline_id": "574",
        "pipeline_source": "push",
        "job_id": "302",
        "job_project_id": "20",
        "job_project_path": "acme/tools/app",
        "job_namespace_id": "72",
        "job_namespace_path": "acme/tools",
        "ref": "main",
        "ref_type": "branch",
        "ref_path": "refs/heads/main",
        "ref_protected": "true",
        "environment": "production",
        "environment_protected": "true",
        "deployment_tier": "production",
        "deployment_action": "start",
        "runner_id": 1,
        "runner_environment": "self-hosted",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "project_visibility": "private",
        "ci_config_ref_uri": "gitlab.com/acme/tools/app//.gitlab-ci.yml@refs/heads/main",
        "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        **changes,
    }


def buildkite(**changes: Any) -> Claims:  # noqa: ANN401
    """A job of Buildkite that asked for the ids: pipeline `app` of `acme`, branch `main`, step `deploy`."""
    return {
        **_TIMES,
        "iss": "https://agent.buildkite.com",
        "sub": "organization:acme:pipeline:app:ref:refs/heads/main:commit:9f3182061f1e:step:deploy",
        "jti": "0194b014-8517-7cef-b232-76a827315f08",
        "organization_slug": "acme",
        "organization_id": "0184990a-477b-4fa8-9968-496074483aaa",
        "pipeline_slug": "app",
        "pipeline_id": "0184990a-477b-4fa8-9968-496074483bbb",
        "build_number": 5,
        "build_branch": "main",
        "build_tag": None,
        "build_commit": "9f3182061f1e2cca4702c368cbc039b7dc9d4485",
        "step_key": "deploy",
        "job_id": "0184990a-477b-4fa8-9968-496074483cee",
        "agent_id": "0184990a-4782-42b5-afc1-16715b10b8ff",
        "build_source": "webhook",
        "runner_environment": "self-hosted",
        **changes,
    }


def circleci(**changes: Any) -> Claims:  # noqa: ANN401
    """A job of CircleCI in the first form of `sub`, with the audience that it gets if it asks for no other."""
    project = "0f5a1c2e-1111-4222-8333-9444555577aa"
    return {
        **_TIMES,
        "iss": f"https://oidc.circleci.com/org/{CIRCLE_ORG}",
        "sub": f"org/{CIRCLE_ORG}/project/{project}/user/0f5a1c2e-1111-4222-8333-9444555588bb",
        "aud": CIRCLE_ORG,
        CIRCLE + "project-id": project,
        CIRCLE + "context-ids": ["0f5a1c2e-1111-4222-8333-9444555599cc"],
        CIRCLE + "vcs-origin": "github.com/acme/app",
        CIRCLE + "vcs-ref": "refs/heads/main",
        CIRCLE + "ssh-rerun": False,
        **changes,
    }


def terraform(**changes: Any) -> Claims:  # noqa: ANN401
    """An apply of HCP Terraform, in the form of `sub` that has the project."""
    return {
        **_TIMES,
        "iss": "https://app.terraform.io",
        "sub": "organization:acme:project:Default Project:workspace:network-prod:run_phase:apply",
        "jti": "1192426d-b525-4fde-9d42-f238be437bbd",
        "terraform_run_phase": "apply",
        "terraform_workspace_id": "ws-mbsd5E3Ktt5Rg2Xm",
        "terraform_workspace_name": "network-prod",
        "terraform_organization_id": "org-GRNbCjYNpBB6NEBH",
        "terraform_organization_name": "acme",
        "terraform_project_id": "prj-vegSA59s1XPwMr2t",
        "terraform_project_name": "Default Project",
        "terraform_run_id": "run-X3n1AUXNGWbfECsJ",
        "terraform_full_workspace": "organization:acme:project:Default Project:workspace:network-prod",
        **changes,
    }


def kubernetes(namespace: str = "shop", name: str = "deployer", **changes: Any) -> Claims:  # noqa: ANN401
    """The token that a kubelet projects into a pod."""
    return {
        **_TIMES,
        "iss": CLUSTER,
        "aud": [STS],
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
        "kubernetes.io": {
            "namespace": namespace,
            "node": {"name": "node-a", "uid": "58456cb0-dd00-45ed-b797-5578fdceaced"},
            "pod": {"name": "deploy-69cbfb9798-jv9gn", "uid": "778a530c-b3f4-47c0-9cd5-ab018fb64f33"},
            "serviceaccount": {"name": name, "uid": "a087d5a0-e1dd-43ec-93ac-f13d89cd13af"},
            "warnafter": int(NOW) + 200,
        },
        **changes,
    }


def policy(member: str, block: dict[str, Any]) -> CompiledPolicy:
    """The policy that trusts that block, and need not be pinned."""
    return compile_policy(trust.record(trust.spec() | {"from": {member: block}}), LOOSE)


def trusts(member: str, block: dict[str, Any], claims: Claims) -> bool:
    """Whether a token, verified by its issuer's own keys, is granted anything: through index and decision."""
    index = PolicyIndex([policy(member, block)])
    (source,) = index.issuers(claims["iss"]) or (KeySource(claims["iss"], "discovery", well_known(claims["iss"])),)
    audience = claims["aud"]
    subject = Verified(source, "RS256", [audience] if isinstance(audience, str) else audience, claims)
    return isinstance(decide(index, subject, GrantRequest(), LOOSE, trust.NOW), Granted)


def findings(member: str, block: dict[str, Any], under: Settings = trust.SETTINGS) -> set[tuple[str, Reason]]:
    """Path and reason of everything that is wrong with a policy of that block."""
    found = accepted(trust.record(trust.spec() | {"from": {member: block}}), under)
    return set() if isinstance(found, CompiledPolicy) else {(finding.path, finding.reason) for finding in found}
