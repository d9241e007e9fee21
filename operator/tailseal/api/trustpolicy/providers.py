"""Typed forms of trust for well-known issuers; each says the same as a general one, with less to get wrong."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import StringConstraints

from tailseal.api.base import ApiModel, Items, Rule
from tailseal.api.fields import Audience, Certificates, DnsLabel, ForeignIssuer, Visible
from tailseal.api.trustpolicy.oidc import AGE, Demands, Keys

NumericID = Annotated[str, StringConstraints(max_length=20, pattern=r"^[0-9]+$")]
"""An id that is a number, as text."""
UUID = Annotated[str, StringConstraints(max_length=36, pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""A UUID in lower case."""
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""A glob: `*` stays within a part between `/ : @`, `**` crosses them."""
Patterns = Annotated[tuple[Pattern, ...], Items(16, "set")]
Audiences = Annotated[tuple[Audience, ...], Items(8, "set")]

_KEYS_NEED_ISSUER: Final = Rule(
    cel="has(self.issuer) || !(has(self.keys) || has(self.caBundle))",
    message="keys and caBundle go with issuer only: the public service has its own",
    holds=lambda self: self.issuer is not None or (self.keys is None and self.ca_bundle is None),
)


class GitHub(Demands):
    """Jobs of GitHub Actions. Both forms of `sub` (by names, and by names with ids) are matched."""

    rules: ClassVar = (
        AGE,
        _KEYS_NEED_ISSUER,
        Rule(
            cel="!has(self.repository) || (!self.repository.contains('/') && (has(self.owner) || has(self.ownerID)))",
            message="repository is the name alone, and goes with owner or ownerID: anybody may have one of that name",
            holds=lambda self: (
                self.repository is None
                or ("/" not in self.repository and (self.owner is not None or self.owner_id is not None))
            ),
        ),
    )

    issuer: ForeignIssuer | None = None
    """For GitHub Enterprise: its issuer; left out, https://token.actions.githubusercontent.com."""
    keys: Keys | None = None
    """Where that issuer's public keys come from: exactly one member; left out, discovery."""
    ca_bundle: Certificates | None = None
    """CA certificates (PEM) that the issuer's https is checked with, in place of the system's."""
    audiences: Audiences = ()
    """Accepted `aud`; left out, our issuer and the URL of our token service."""
    enterprise_id: NumericID | None = None
    """Id of the enterprise, which never passes on to somebody else."""
    owner: Visible | None = None
    """Login of the user or organisation."""
    owner_id: NumericID | None = None
    """Its id, which never passes on to somebody else."""
    repository: Visible | None = None
    """Name of the repository, without owner."""
    repository_id: NumericID | None = None
    """Its id."""
    refs: Patterns = ()
    """Git refs, such as `refs/heads/main`. With branches or tags: any of all three."""
    branches: Patterns = ()
    """Names of branches, such as `main`."""
    tags: Patterns = ()
    """Names of tags, such as `v*`."""
    ref_protected: bool | None = None
    """Whether the ref must be protected."""
    environments: Patterns = ()
    """Deployment environments."""
    events: Patterns = ()
    """Events that started the run, such as `push`. Left out, any but those that strangers can bring about:
    `pull_request` and its kin, `workflow_run`, `issues`, `issue_comment`, `discussion`, `discussion_comment`, `fork`,
    `gollum`, `watch`. Each of these must be named, without `*`."""
    workflows: Patterns = ()
    """Workflow files (`job_workflow_ref`), such as `acme/ci/.github/workflows/deploy.yml@refs/heads/main`."""


class GitLab(Demands):
    """Jobs of GitLab CI."""

    rules: ClassVar = (AGE, _KEYS_NEED_ISSUER)

    issuer: ForeignIssuer | None = None
    """For a GitLab of one's own: its URL; left out, https://gitlab.com."""
    keys: Keys | None = None
    """Where that issuer's public keys come from: exactly one member; left out, discovery."""
    ca_bundle: Certificates | None = None
    """CA certificates (PEM) that the issuer's https is checked with, in place of the system's."""
    audiences: Audiences = ()
    """Accepted `aud`; left out, our issuer and the URL of our token service."""
    namespace: Pattern | None = None
    """Path of the group."""
    namespace_id: NumericID | None = None
    """Its id, which never passes on to somebody else."""
    project: Pattern | None = None
    """Path of the project, with its groups."""
    project_id: NumericID | None = None
    """Its id."""
    refs: Patterns = ()
    """Names of branches or tags, without `refs/heads/`."""
    ref_type: Literal["branch", "tag"] | None = None
    """What the ref is; left out where refs are given, a branch."""
    ref_protected: bool | None = None
    """Whether the ref must be protected."""
    environments: Patterns = ()
    """Deployment environments."""
    environment_protected: bool | None = None
    """Whether the environment must be protected."""
    pipeline_sources: Patterns = ()
    """What started the pipeline, such as `push`. Left out, anything but what may run the code of a fork:
    `merge_request_event`, `external_pull_request_event`, `parent_pipeline`. Each of these must be named, without `*`.
    """
    ci_configs: Patterns = ()
    """Pipeline definitions (`ci_config_ref_uri`), such as `gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main`."""


class Buildkite(Demands):
    """Jobs of Buildkite."""

    audiences: Audiences = ()
    """Accepted `aud`; left out, our issuer and the URL of our token service."""
    organization: Visible | None = None
    """Slug of the organisation."""
    organization_id: UUID | None = None
    """Its id, which never passes on to somebody else. Jobs must ask for it: `--claim organization_id`."""
    pipelines: Patterns = ()
    """Slugs of pipelines."""
    pipeline_id: UUID | None = None
    """Id of the pipeline. Jobs must ask for it: `--claim pipeline_id`."""
    refs: Patterns = ()
    """Git refs, such as `refs/heads/main`."""
    steps: Patterns = ()
    """Keys of steps."""


class CircleCI(Demands):
    """Jobs of CircleCI."""

    organization_id: UUID
    """Id of the organisation; it names the issuer and is the default audience."""
    audiences: Audiences = ()
    """Accepted `aud`; left out, our issuer, the URL of our token service, and the organisation's id."""
    project_ids: Annotated[tuple[UUID, ...], Items(16, "set")] = ()
    """Ids of projects."""
    context_ids: Annotated[tuple[UUID, ...], Items(16, "set")] = ()
    """Ids of contexts that the job must use."""
    refs: Patterns = ()
    """Git refs (`oidc.circleci.com/vcs-ref`). Those of pull requests count only where one begins with `refs/pull/`,
    `refs/heads/pull/` or `refs/merge-requests/`."""
    origins: Patterns = ()
    """Repositories that the code comes from (`oidc.circleci.com/vcs-origin`): keeps builds of forks out."""


class Terraform(Demands):
    """Runs of HCP Terraform."""

    rules: ClassVar = (AGE, _KEYS_NEED_ISSUER)

    issuer: ForeignIssuer | None = None
    """For Terraform Enterprise: its URL; left out, https://app.terraform.io."""
    keys: Keys | None = None
    """Where that issuer's public keys come from: exactly one member; left out, discovery."""
    ca_bundle: Certificates | None = None
    """CA certificates (PEM) that the issuer's https is checked with, in place of the system's."""
    audiences: Audiences = ()
    """Accepted `aud`; left out, our issuer and the URL of our token service."""
    organization: Pattern | None = None
    """Name of the organisation."""
    organization_id: Visible | None = None
    """Its id, which never passes on to somebody else."""
    projects: Patterns = ()
    """Names of projects."""
    project_id: Visible | None = None
    """Id of the project."""
    workspaces: Patterns = ()
    """Names of workspaces."""
    workspace_id: Visible | None = None
    """Id of the workspace."""
    run_phases: Annotated[tuple[Literal["plan", "apply"], ...], Items(2, "set")] = ()
    """Phases of a run; left out, both."""


class KubernetesSource(Demands):
    """Service accounts of a Kubernetes cluster."""

    issuer: ForeignIssuer
    """The cluster's service account issuer."""
    keys: Keys | None = None
    """Where its public keys come from: exactly one member; left out, discovery."""
    ca_bundle: Certificates | None = None
    """CA certificates (PEM) that the issuer's https is checked with, in place of the system's."""
    audiences: Audiences = ()
    """Accepted `aud`; left out, our issuer and the URL of our token service."""
    namespaces: Annotated[tuple[DnsLabel, ...], Items(16, "set", minimum=1)]
    """Namespaces of the service accounts."""
    service_accounts: Patterns = ()
    """Names of the service accounts; left out, any."""
    service_account_uids: Annotated[tuple[UUID, ...], Items(16, "set")] = ()
    """Their uids: a deleted and made anew account is another one."""
    bound_to: Literal["Pod", "Node"] | None = None
    """What the token must be bound to, so that it ends with that; left out, anything or nothing."""
    pods: Patterns = ()
    """Names of the pods that tokens are bound to, such as `deploy-*`."""
    nodes: Patterns = ()
    """Names of the nodes that tokens are bound to, or that their pods run on."""
    node_uids: Annotated[tuple[UUID, ...], Items(16, "set")] = ()
    """Uids of these nodes."""


class CallerCapability(ApiModel):
    """An app capability that the caller must have been granted."""

    action: Visible
    """Action, such as `exchange`."""
    resource: Visible
    """Resource, such as `audience/https://billing.corp.example`."""


class TailnetSource(ApiModel):
    """People and nodes of the provider's tailnet."""

    rules: ClassVar = (
        Rule(
            cel="has(self.capability) || (has(self.users) && self.users.size() > 0) || "
            "(has(self.groups) && self.groups.size() > 0) || (has(self.tags) && self.tags.size() > 0) || "
            "(has(self.nodes) && self.nodes.size() > 0)",
            message="at least one of users, groups, tags, nodes, capability must be given",
            holds=lambda self: bool(self.users or self.groups or self.tags or self.nodes or self.capability),
        ),
    )

    users: Patterns = ()
    """Login names, such as `ana@corp.example`."""
    groups: Patterns = ()
    """Groups, as the capability grants them."""
    tags: Patterns = ()
    """ACL tags of nodes."""
    nodes: Patterns = ()
    """Stable ids of nodes."""
    capability: CallerCapability | None = None
    """An app capability that the caller must have been granted."""


class SessionSource(Demands):
    """Tokens that this very provider issued, such as those of people who have logged in.

    What is exchanged for one never outlives it.
    """

    audiences: Audiences = ()
    """Accepted `aud`: the service that exchanges what it was sent; left out, our issuer and the URL of our token
    service."""
    clients: Patterns = ()
    """Client ids that the token was issued to."""
    users: Patterns = ()
    """Login names, by the claim `username`."""
    groups: Patterns = ()
    """Groups, of which one is enough."""
    capability: CallerCapability | None = None
    """An app capability that the person must have been granted."""
