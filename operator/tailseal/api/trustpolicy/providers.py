"""Typed forms of trust for well-known issuers; each says the same as a general one, with less to get wrong."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from tailseal.api.base import ApiModel, Items, Rule
from tailseal.api.fields import Audience, Certificates, DnsLabel, ForeignIssuer, Visible
from tailseal.api.trustpolicy.oidc import Keys

NumericID = Annotated[str, StringConstraints(max_length=20, pattern=r"^[0-9]+$")]
"""An id that is a number, as text."""
UUID = Annotated[str, StringConstraints(max_length=36, pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""A UUID in lower case."""
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""A glob: `*` stays within a part between `/ : @`, `**` crosses them."""
Patterns = Annotated[tuple[Pattern, ...], Items(16, "set")]
Audiences = Annotated[tuple[Audience, ...], Items(8, "set")]


class GitHub(ApiModel):
    """Jobs of GitHub Actions. Both forms of `sub` (by names, and by names with ids) are matched."""

    issuer: ForeignIssuer | None = None
    """For GitHub Enterprise: its issuer; left out, https://token.actions.githubusercontent.com."""
    audiences: Audiences = ()
    """Accepted `aud`; left out, our issuer and the URL of our token service."""
    owner: Visible | None = None
    """Login of the user or organisation."""
    owner_id: NumericID | None = None
    """Its id, which never passes on to somebody else."""
    repository: Visible | None = None
    """Name of the repository, without owner."""
    repository_id: NumericID | None = None
    """Its id."""
    refs: Patterns = ()
    """Git refs, such as `refs/heads/main`."""
    environments: Patterns = ()
    """Deployment environments."""
    events: Patterns = ()
    """Events that started the run, such as `push`."""
    workflows: Patterns = ()
    """Workflow files (`job_workflow_ref`), such as `acme/ci/.github/workflows/deploy.yml@refs/heads/main`."""


class GitLab(ApiModel):
    """Jobs of GitLab CI."""

    issuer: ForeignIssuer | None = None
    """For a GitLab of one's own: its URL; left out, https://gitlab.com."""
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
    """What the ref is."""
    ref_protected: bool | None = None
    """Whether the ref must be protected."""
    environments: Patterns = ()
    """Deployment environments."""
    pipeline_sources: Patterns = ()
    """What started the pipeline, such as `push`."""


class Buildkite(ApiModel):
    """Jobs of Buildkite."""

    audiences: Audiences = ()
    """Accepted `aud`; left out, our issuer and the URL of our token service."""
    organization: Visible | None = None
    """Slug of the organisation."""
    organization_id: UUID | None = None
    """Its id, which never passes on to somebody else."""
    pipelines: Patterns = ()
    """Slugs of pipelines."""
    pipeline_id: UUID | None = None
    """Id of the pipeline."""
    refs: Patterns = ()
    """Git refs, such as `refs/heads/main`."""
    steps: Patterns = ()
    """Keys of steps."""


class CircleCI(ApiModel):
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
    """Git refs (`oidc.circleci.com/vcs-ref`)."""
    origins: Patterns = ()
    """Repositories that the code comes from (`oidc.circleci.com/vcs-origin`): keeps builds of forks out."""


class Terraform(ApiModel):
    """Runs of HCP Terraform."""

    issuer: ForeignIssuer | None = None
    """For Terraform Enterprise: its URL; left out, https://app.terraform.io."""
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


class KubernetesSource(ApiModel):
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


class SessionSource(ApiModel):
    """Tokens that this very provider issued, such as those of people who have logged in."""

    clients: Patterns = ()
    """Client ids that the token was issued to."""
    users: Patterns = ()
    """Login names."""
    groups: Patterns = ()
    """Groups."""
    capability: CallerCapability | None = None
    """An app capability that the person must have been granted."""
