"""GitLab CI: gitlab.com and installations of one's own.

`sub` is not asked: projects can configure it, and every part of it is a claim of its own. Ids are text there, and so
are truth values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailseal.api.trustpolicy import GitLab
from tailseal.domain.policy.general import General
from tailseal.domain.policy.matchers import Verdict
from tailseal.domain.policy.providers.block import Block, Either

ISSUER: Final = "https://gitlab.com"

_STRANGERS: Final = frozenset({"merge_request_event", "external_pull_request_event", "parent_pipeline"})
"""Sources of pipelines that may run a fork's code: `parent_pipeline` is a child, possibly of a merge request's."""


def general(block: GitLab, origin: str) -> General:
    """The general form of a `gitlab` block.

    Args:
        block: from the manifest.
        origin: where it stands.
    """
    rules = Block(origin)
    rules.equal("project_id", "project_id", block.project_id)
    rules.equal("namespace_id", "namespace_id", block.namespace_id)
    rules.like(("project_path",), Either("project", block.project))
    rules.like(("namespace_path",), Either("namespace", block.namespace))
    rules.like(("ref",), Either("refs", block.refs))
    # A tag may have a branch's name, and other people may be allowed to push it.
    rules.equal("ref_type", "ref_type", block.ref_type or ("branch" if block.refs else None))
    rules.boolean("ref_protected", "ref_protected", block.ref_protected)
    rules.like(("environment",), Either("environments", block.environments))
    rules.boolean("environment_protected", "environment_protected", block.environment_protected)
    rules.started_by("pipeline_sources", "pipeline_source", block.pipeline_sources, _STRANGERS)
    rules.like(("ci_config_ref_uri",), Either("ci_configs", block.ci_configs))
    rules.add("project_id", ("job_project_id",), _runs_at_home, "the project itself, not another's merge request")
    return rules.hosted(block, ISSUER)


def _runs_at_home(claims: Mapping[str, Any]) -> Verdict:
    """Whether the job ran in the project that the token names.

    For a merge request from a fork, `project_id` is the fork and `job_project_id` the project where it runs, whose
    members started it. Older GitLabs have no such claim, so that they never show that a merge request is no fork's.
    """
    found = claims.get("job_project_id")
    if found is None:
        source = claims.get("pipeline_source")
        return Verdict.MATCH if type(source) is str and source not in _STRANGERS else Verdict.MISSING
    return Verdict.MATCH if found == claims.get("project_id") else Verdict.MISMATCH
