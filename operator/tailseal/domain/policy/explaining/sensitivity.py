"""How much of a token's claim may be shown to a policy's owner: explanations end up in tickets and build logs.

Claims that name software and places are shown. Of any other text only what agrees with the policy's own words is
shown, and what could be used or belongs to a person is never shown at all.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from tailseal.domain.capability import Capabilities

LONGEST: Final = 160
"""Characters of a value that are shown at most."""

_OPEN: Final = frozenset(
    {
        *("iss", "sub", "aud", "azp", "client_id", "exp", "iat", "nbf", "typ", "kid", "scope", "scp"),
        # GitHub Actions
        *("repository", "repository_id", "repository_owner", "repository_owner_id", "repository_visibility"),
        *("ref", "ref_type", "ref_protected", "base_ref", "head_ref", "sha", "environment", "event_name"),
        *("workflow", "workflow_ref", "workflow_sha", "job_workflow_ref", "job_workflow_sha"),
        *("run_id", "run_number", "run_attempt", "runner_environment", "enterprise", "enterprise_id"),
        # GitLab
        *("namespace_id", "namespace_path", "project_id", "project_path", "project_visibility", "ref_path"),
        *("pipeline_id", "pipeline_source", "job_id", "ci_config_ref_uri", "ci_config_sha", "deployment_tier"),
        *("environment_protected", "environment_action", "runner_id"),
        # Buildkite
        *("organization_id", "organization_slug", "pipeline_slug", "build_number", "build_branch", "build_tag"),
        *("build_commit", "build_source", "step_key", "cluster_id", "cluster_name", "queue_id", "queue_key"),
        # CircleCI
        *("oidc.circleci.com/project-id", "oidc.circleci.com/context-ids", "oidc.circleci.com/vcs-ref"),
        *("oidc.circleci.com/vcs-origin", "oidc.circleci.com/job-id"),
        # HCP Terraform
        *("terraform_organization_id", "terraform_organization_name", "terraform_project_id"),
        *("terraform_project_name", "terraform_workspace_id", "terraform_workspace_name", "terraform_run_phase"),
        *("terraform_run_id", "terraform_full_workspace"),
        # Kubernetes
        "kubernetes.io",
    }
)
_SECRET: Final = frozenset(
    {
        *("jti", "nonce", "sid", "cnf", "at_hash", "c_hash", "s_hash", "address", "addresses", "birthdate", "picture"),
        *("email", "phone_number", "name", "given_name", "family_name", "nickname", "preferred_username", "ip"),
    }
)
_SECRET_WORDS: Final = re.compile(r"secret|passw|token|credential|key$|e?mail", re.IGNORECASE)
_MAIL: Final = re.compile(r"[^\s/:@]+@[^\s/:@]+\.[^\s/:@]+")
_TOKEN: Final = re.compile(r"eyJ[A-Za-z0-9_-]*\.")


def shown(path: tuple[str, ...], value: Any, written: str = "") -> str:  # noqa: ANN401 - any JSON value
    """The value as far as it may be seen, as one line of printable ASCII.

    Args:
        path: the claim, from the outside in.
        value: what the token says there; never None.
        written: what the policy's author wrote for it: the part of a masked text that agrees with it is shown.
    """
    if isinstance(value, dict):
        return f"an object of {len(value)} members"
    if (path[0] not in _OPEN and any(map(_is_secret, path))) or _gives_away(value):
        return f"{_kind(value)} (not shown)"
    if path[0] in _OPEN:
        return _cut(json.dumps(value, default=str))
    if isinstance(value, str):
        agreed = json.dumps(f"{_agreed(value, written)[:LONGEST]}...")
        return f"{agreed} (masked; {len(value)} characters)"
    return f"{_kind(value)} (masked)"


def _is_secret(name: str) -> bool:
    return name in _SECRET or (name not in _OPEN and _SECRET_WORDS.search(name) is not None)


def _gives_away(value: object) -> bool:
    """Whether a text (or one in a list) is a mail address or carries a token, whatever its claim is called."""
    if isinstance(value, list):
        return any(map(_gives_away, value)) or any(isinstance(item, dict | list) for item in value)
    return isinstance(value, str) and (_MAIL.fullmatch(value) is not None or _TOKEN.search(value) is not None)


def _kind(value: object) -> str:
    kinds = {str: "a text", bool: "a boolean", int: "a whole number", list: "a list", Capabilities: "other grants"}
    return kinds.get(type(value), "a number")


def _agreed(value: str, written: str) -> str:
    """What both texts begin with."""
    length = min(len(value), len(written))
    return value[: next((place for place in range(length) if value[place] != written[place]), length)]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"
