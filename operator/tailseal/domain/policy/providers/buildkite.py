"""Buildkite: one issuer for all organisations.

`sub` is not asked: a job may choose what stands in it (`--subject-claim`). The ids are optional claims, so a job has
to ask for them: `buildkite-agent oidc request-token --claim organization_id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailseal.api.trustpolicy import Buildkite
from tailseal.domain.policy.general import General
from tailseal.domain.policy.providers.block import Block, Either

ISSUER: Final = "https://agent.buildkite.com"


def general(block: Buildkite, origin: str) -> General:
    """The general form of a `buildkite` block.

    Args:
        block: from the manifest.
        origin: where it stands.
    """
    rules = Block(origin)
    rules.equal("organization_id", "organization_id", block.organization_id)
    rules.equal("organization", "organization_slug", block.organization)
    rules.equal("pipeline_id", "pipeline_id", block.pipeline_id)
    rules.like(("pipeline_slug",), Either("pipelines", block.pipelines))
    rules.like(("build_branch",), Either("refs", block.refs), read=_ref)
    rules.like(("step_key",), Either("steps", block.steps))
    return General(origin=origin, issuer=ISSUER, rules=rules.rules, audiences=block.audiences, findings=rules.findings)


def _ref(claims: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value, for a test to judge
    """The git ref of the build: a tag's build has the tag's name for a branch, too, and is none of the branch."""
    tag, branch = claims.get("build_tag"), claims.get("build_branch")
    if tag is not None and tag != "":
        return f"refs/tags/{tag}" if type(tag) is str else tag
    return f"refs/heads/{branch}" if type(branch) is str else branch
