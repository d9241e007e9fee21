"""GitHub Actions: github.com, GHE.com and GitHub Enterprise Server.

`sub` is not asked. Its form is the organisation's choice: by names, by names with ids (`O@1/R@2`, the default of new
repositories since July 2026), or any order of claims; an environment takes the place of the ref in it, and colons in
values are escaped. Every part of it is also a claim of its own, in one form everywhere, and those are asked.
"""

from __future__ import annotations

from typing import Final

from tailseal.api.trustpolicy import GitHub
from tailseal.domain.policy import matchers
from tailseal.domain.policy.general import General
from tailseal.domain.policy.providers.block import Block, Either

ISSUER: Final = "https://token.actions.githubusercontent.com"

_STRANGERS: Final = frozenset(
    {
        *("pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment", "workflow_run"),
        *("discussion", "discussion_comment", "fork", "gollum", "issue_comment", "issues", "watch"),
    }
)
"""Events that people without write access bring about. A token does not tell a fork's pull request from another, and
`workflow_run` may follow on a workflow of one, and read its artifacts."""


def general(block: GitHub, origin: str) -> General:
    """The general form of a `github` block.

    Args:
        block: from the manifest.
        origin: where it stands.
    """
    rules = Block(origin)
    rules.equal("enterprise_id", "enterprise_id", block.enterprise_id)
    rules.equal("owner_id", "repository_owner_id", block.owner_id)
    rules.equal("owner", "repository_owner", block.owner)
    rules.equal("repository_id", "repository_id", block.repository_id)
    _repository(rules, block)
    rules.like(
        ("ref",),
        Either("refs", block.refs),
        Either("branches", block.branches, "refs/heads/"),
        Either("tags", block.tags, "refs/tags/"),
    )
    rules.boolean("ref_protected", "ref_protected", block.ref_protected)
    rules.like(("environment",), Either("environments", block.environments))
    rules.started_by("events", "event_name", block.events, _STRANGERS)
    rules.like(("job_workflow_ref",), Either("workflows", block.workflows))
    return rules.hosted(block, ISSUER)


def _repository(rules: Block, block: GitHub) -> None:
    """`repository` is OWNER/NAME; the owner may be known by id only."""
    name = block.repository
    if name is not None and block.owner is not None:
        rules.equal("repository", "repository", f"{block.owner}/{name}")
    elif name is not None:
        test = matchers.text(lambda value: value.count("/") == 1 and value.endswith(f"/{name}"))
        rules.add("repository", ("repository",), matchers.claim(("repository",), test), f"*/{name}")
