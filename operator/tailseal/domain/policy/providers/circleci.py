"""CircleCI: an issuer for each organisation, named by the organisation's id.

`sub` is not asked: it has two forms (the second adds origin and ref), and its parts are claims of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailseal.api.trustpolicy import CircleCI
from tailseal.domain.policy import matchers
from tailseal.domain.policy.general import General
from tailseal.domain.policy.matchers import Verdict
from tailseal.domain.policy.providers.block import Block, Either

_CLAIM: Final = "oidc.circleci.com/"
_STRANGERS: Final = ("refs/pull/", "refs/heads/pull/", "refs/merge-requests/")
"""Beginnings of refs that are a pull request's; CircleCI builds those of forks as branches `pull/<number>`."""


def issuer(organization_id: str) -> str:
    """The organisation's issuer."""
    return f"https://oidc.circleci.com/org/{organization_id}"


def general(block: CircleCI, origin: str) -> General:
    """The general form of a `circleci` block.

    Args:
        block: from the manifest.
        origin: where it stands.
    """
    rules = Block(origin)
    rules.among("project_ids", (_CLAIM + "project-id",), block.project_ids)
    rules.like((_CLAIM + "vcs-origin",), Either("origins", block.origins))
    rules.like((_CLAIM + "vcs-ref",), Either("refs", block.refs))
    if not any(ref.startswith(_STRANGERS) for ref in block.refs):
        rules.add("refs", (_CLAIM + "vcs-ref",), _no_pull_request, "no pull request's")
    if block.context_ids:
        path = (_CLAIM + "context-ids",)
        test = matchers.elements(matchers.one_of(block.context_ids), "Any")
        rules.add("context_ids", path, matchers.claim(path, test), ", ".join(block.context_ids))
    return General(
        origin=origin,
        issuer=issuer(block.organization_id),
        rules=rules.rules,
        audiences=block.audiences,
        also=(block.organization_id,),
        findings=rules.findings,
    )


def _no_pull_request(claims: Mapping[str, Any]) -> Verdict:
    """Whether the ref, which tokens of some sources of code do not have, is no pull request's."""
    ref = claims.get(_CLAIM + "vcs-ref")
    if ref is None:
        return Verdict.MATCH
    if type(ref) is not str:
        return Verdict.WRONG_TYPE
    return Verdict.MISMATCH if ref.startswith(_STRANGERS) else Verdict.MATCH
