"""Each provider's real token shape through a worker process; two independent libraries verify what comes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from fakes import bundles, internet, jobs, worker
from fakes.exchange import JWT_TYPE, OURS, SETTINGS, SPEC, TARGET, record, rsa_key, token
from fakes.jobs import CIRCLE, CIRCLE_ORG, CLUSTER, Claims
from tailseal_dev.cache import BuildError
from tailseal_dev.fleet.verifiers import Jose

GITHUB = {"ownerID": "65", "repository": "app", "branches": ["main"], "refProtected": True}
BLOCKS: dict[str, dict[str, Any]] = {
    "github": GITHUB,
    "gitlab": {"projectID": "20", "refs": ["main"], "refProtected": True},
    "buildkite": {"organizationID": jobs.buildkite()["organization_id"], "steps": ["deploy"]},
    "circleci": {"organizationID": CIRCLE_ORG, "refs": ["refs/heads/main"], "origins": ["github.com/acme/*"]},
    "terraform": {"organizationID": "org-GRNbCjYNpBB6NEBH", "runPhases": ["apply"]},
    "kubernetes": {"issuer": CLUSTER, "namespaces": ["shop"], "serviceAccounts": ["deployer"], "boundTo": "Pod"},
}
SHAPES: dict[str, tuple[str, Claims]] = {
    "GitHub, classic subject": ("github", jobs.github()),
    "GitHub, subject with ids": ("github", jobs.github("repo:acme@65/app@74:ref:refs/heads/main")),
    "GitLab": ("gitlab", jobs.gitlab()),
    "Buildkite": ("buildkite", jobs.buildkite()),
    "CircleCI": ("circleci", jobs.circleci()),
    "HCP Terraform": ("terraform", jobs.terraform()),
    "Kubernetes pod": ("kubernetes", jobs.kubernetes()),
}
FORK = jobs.github("repo:acme/app:pull_request", event_name="pull_request", ref="refs/pull/7/merge", head_ref="main")
POD = jobs.kubernetes()["kubernetes.io"]
OTHER_ORG = "0f5a1c2e-1111-4222-8333-944455556667"
NEAR_MISSES: dict[str, tuple[Claims, str]] = {
    "GitHub: a pull request, maybe from a fork": (FORK, "NoPolicyMatches"),
    "GitHub: the owner's name in other hands": (jobs.github(repository_owner_id="66"), "NoPolicyMatches"),
    "GitHub: the same in the subject with ids": (
        jobs.github("repo:acme@66/app@74:ref:refs/heads/main", repository_owner_id="66"),
        "NoPolicyMatches",
    ),
    "GitHub: a branch whose name begins alike": (
        jobs.github("repo:acme/app:ref:refs/heads/main2", ref="refs/heads/main2"),
        "NoPolicyMatches",
    ),
    "GitHub: a tag named as the branch": (
        jobs.github("repo:acme/app:ref:refs/tags/main", ref="refs/tags/main", ref_type="tag"),
        "NoPolicyMatches",
    ),
    "GitHub: a branch that is not protected": (jobs.github(ref_protected="false"), "NoPolicyMatches"),
    "GitHub: for somebody else": (jobs.github(aud="https://github.com/acme"), "AudienceNotTrusted"),
    "GitHub: without an audience": (jobs.without(jobs.github(), "aud"), "ClaimMissing"),
    "GitHub: from its enterprise path": (
        jobs.github(iss="https://token.actions.githubusercontent.com/acme"),
        "UnknownIssuer",
    ),
    "GitLab: another project at the same path": (jobs.gitlab(project_id="21", job_project_id="21"), "NoPolicyMatches"),
    "GitLab: a branch that is not protected": (jobs.gitlab(ref_protected="false"), "NoPolicyMatches"),
    "GitLab: a tag named as the branch": (
        jobs.gitlab(sub="project_path:acme/tools/app:ref_type:tag:ref:main", ref_type="tag", ref_path="refs/tags/main"),
        "NoPolicyMatches",
    ),
    "GitLab: a boolean where it writes text": (jobs.gitlab(ref_protected=True), "NoPolicyMatches"),
    "Buildkite: another organisation": (
        jobs.buildkite(organization_id="0184990a-477b-4fa8-9968-496074483aab"),
        "NoPolicyMatches",
    ),
    "Buildkite: another step": (jobs.buildkite(step_key="deploy:x"), "NoPolicyMatches"),
    "Buildkite: an agent that was not asked for the ids": (
        jobs.without(jobs.buildkite(), "organization_id", "pipeline_id"),
        "NoPolicyMatches",
    ),
    "CircleCI: another organisation's issuer": (
        jobs.circleci(iss=f"https://oidc.circleci.com/org/{OTHER_ORG}", aud=OTHER_ORG),
        "UnknownIssuer",
    ),
    "CircleCI: another organisation's subject": (jobs.circleci(aud=OTHER_ORG), "AudienceNotTrusted"),
    "CircleCI: the code of a fork": (
        jobs.circleci(**{CIRCLE + "vcs-origin": "github.com/mallory/app"}),
        "NoPolicyMatches",
    ),
    "CircleCI: another branch": (jobs.circleci(**{CIRCLE + "vcs-ref": "refs/heads/x"}), "NoPolicyMatches"),
    "HCP Terraform: a plan": (
        jobs.terraform(
            sub="organization:acme:project:Default Project:workspace:network-prod:run_phase:plan",
            terraform_run_phase="plan",
        ),
        "NoPolicyMatches",
    ),
    "HCP Terraform: another organisation of that name": (
        jobs.terraform(terraform_organization_id="org-x"),
        "NoPolicyMatches",
    ),
    "Kubernetes: another namespace": (jobs.kubernetes("evil"), "NoPolicyMatches"),
    "Kubernetes: another service account": (jobs.kubernetes(name="default"), "NoPolicyMatches"),
    "Kubernetes: bound to no pod": (
        jobs.kubernetes(**{"kubernetes.io": {name: POD[name] for name in ("namespace", "serviceaccount")}}),
        "NoPolicyMatches",
    ),
    "Kubernetes: for its own API server": (jobs.kubernetes(aud=[CLUSTER]), "AudienceNotTrusted"),
}


class World(NamedTuple):
    """A running token service, what it publishes, and everything it wrote so far."""

    url: str
    jwks: dict[str, Any]
    log: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("providers")
    far = internet.Internet(sorted({str(claims["iss"]) for _, claims in SHAPES.values()}))
    ca = far.authority.certificate.decode()
    settings = SETTINGS.model_copy(update={"open_hosts": ("127.0.0.0/8",), "extra_ca": ca})
    lease = [{"kid": "k1", "alg": "ES256", "file": "k1.pem", "signUntil": time.time() + 86_400}]
    mounted = bundles.Mounted(folder / "bundle")
    mounted.project("signing", bundles.signing(held=lease))
    records = [record(SPEC | {"from": {member: block}}, name=member) for member, block in BLOCKS.items()]
    mounted.project("policies", bundles.policies(*records, settings=settings))
    mounted.project("credentials", {})
    with far.served(folder) as port, internet.worker(folder / "bundle", folder / "log", port) as url:
        yield World(url, httpx.get(f"{url}/.well-known/jwks.json", trust_env=False).json(), folder / "log")


def signed(claims: Claims, issuer: str = "", **times: int) -> str:
    """The token, now, for us, by the key of its issuer or of another; CircleCI's keeps the audience that it has."""
    now = int(time.time())
    content = claims | {"iat": now - 10, "nbf": now - 10, "exp": now + 300} | times
    if content.get("aud") in (jobs.STS, [jobs.STS]):
        content["aud"] = OURS
    return token(content, key=rsa_key(issuer or str(claims["iss"])))


def ask(world: World, subject: str) -> tuple[int, dict[str, Any]]:
    form = worker.form(subject_token=subject, subject_token_type=JWT_TYPE, audience=TARGET)
    answer = httpx.post(f"{world.url}/token", data=form, trust_env=False, timeout=60)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(("member", "claims"), SHAPES.values(), ids=list(SHAPES))
def test_a_job_gets_a_token_that_joserfc_verifies(world: World, member: str, claims: Claims) -> None:
    status, answer = ask(world, signed(claims))
    assert (status, answer.get("tailseal_reason")) == (200, None)
    issued = joserfc_jwt.decode(answer["access_token"], KeySet.import_key_set(world.jwks), algorithms=["ES256"])  # type: ignore[arg-type]
    expected = {"iss": OURS, "aud": TARGET, "sub": f"policy:identity/{member}", "scope": "read write"}
    assert expected.items() <= issued.claims.items()
    (line,) = [line for line in world.log.read_text().splitlines() if issued.claims["jti"] in line]
    assert f'"policy":"identity/{member}"' in line
    assert f'"subject":"{claims["sub"]}"' in line


def test_npm_jose_verifies_a_token_from_each_shape_and_none_that_was_changed(world: World) -> None:
    try:
        verifier = Jose(world.url, Path("/dev/null"), issuer=OURS, audience=TARGET)
    except BuildError as error:
        pytest.skip(f"npm jose verifies nothing here: {error}")
    try:
        for _, claims in SHAPES.values():
            issued = ask(world, signed(claims))[1]["access_token"]
            assert verifier.verdict(issued) == ""
            head, body, signature = issued.split(".")
            changed = f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
            assert verifier.verdict(changed) == "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"
    finally:
        verifier.close()


@pytest.mark.parametrize(("claims", "reason"), NEAR_MISSES.values(), ids=list(NEAR_MISSES))
def test_what_is_nearly_right_is_refused_with_the_reason(world: World, claims: Claims, reason: str) -> None:
    subject = signed(claims)
    status, answer = ask(world, subject)
    assert (status, answer["error"], answer["tailseal_reason"]) == (400, "invalid_request", reason)
    assert "access_token" not in answer
    assert subject.rpartition(".")[2] not in world.log.read_text()


@pytest.mark.parametrize(("member", "claims"), SHAPES.values(), ids=list(SHAPES))
def test_a_key_of_another_provider_signs_nothing_for_this_one(world: World, member: str, claims: Claims) -> None:
    other = next(str(entry["iss"]) for name, entry in SHAPES.values() if name != member)
    assert ask(world, signed(claims, other))[1]["tailseal_reason"] == "BadSignature"


@pytest.mark.parametrize(("member", "claims"), SHAPES.values(), ids=list(SHAPES))
def test_a_token_of_yesterday_or_tomorrow_is_none(world: World, member: str, claims: Claims) -> None:
    now = int(time.time())
    assert ask(world, signed(claims, exp=now - 3600))[1]["tailseal_reason"] == "TokenExpired"
    assert ask(world, signed(claims, nbf=now + 3600))[1]["tailseal_reason"] == "TokenNotYetValid"
