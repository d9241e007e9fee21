"""HCP Terraform and Terraform Enterprise: runs of workspaces.

`sub` is not asked: it has two forms (an earlier one without the project), and its parts are claims of their own. Only
runs count: what has no run phase (a deployment of a stack) is none of a workspace's.
"""

from __future__ import annotations

from typing import Final

from tailseal.api.trustpolicy import Terraform
from tailseal.domain.policy.general import General
from tailseal.domain.policy.providers.block import Block, Either

ISSUER: Final = "https://app.terraform.io"
PHASES: Final = ("plan", "apply")


def general(block: Terraform, origin: str) -> General:
    """The general form of a `terraform` block.

    Args:
        block: from the manifest.
        origin: where it stands.
    """
    rules = Block(origin)
    rules.equal("workspace_id", "terraform_workspace_id", block.workspace_id)
    rules.equal("project_id", "terraform_project_id", block.project_id)
    rules.equal("organization_id", "terraform_organization_id", block.organization_id)
    rules.like(("terraform_organization_name",), Either("organization", block.organization))
    rules.like(("terraform_project_name",), Either("projects", block.projects))
    rules.like(("terraform_workspace_name",), Either("workspaces", block.workspaces))
    rules.among("run_phases", ("terraform_run_phase",), block.run_phases or PHASES)
    return rules.hosted(block, ISSUER)
