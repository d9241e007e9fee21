"""Kubernetes: service accounts of a cluster, by tokens that are bound and expire.

The account must be told twice and alike: in `sub`, and in the object `kubernetes.io` that an API server adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, Final

from tailseal.api.trustpolicy import KubernetesSource
from tailseal.domain.policy.expressions.patterns import literal_prefix
from tailseal.domain.policy.general import General
from tailseal.domain.policy.matchers import Path, Verdict
from tailseal.domain.policy.providers.block import Block, Either

ALGORITHMS: Final = ("RS256", "ES256", "ES384", "ES512")
"""What an API server signs with: by the kind of its key, or as an external signer says."""

_ROOT: Final = "kubernetes.io"
_ACCOUNT: Final = "serviceaccount"


def general(block: KubernetesSource, origin: str) -> General:
    """The general form of a `kubernetes` block.

    Args:
        block: from the manifest.
        origin: where it stands.
    """
    rules = Block(origin)
    rules.add("service_accounts", ("sub",), _told_alike, "the service account of kubernetes.io", keys=_subjects(block))
    rules.among("namespaces", (_ROOT, "namespace"), block.namespaces)
    rules.like(_path(_ACCOUNT, "name"), Either("service_accounts", block.service_accounts))
    rules.among("service_account_uids", _path(_ACCOUNT, "uid"), block.service_account_uids)
    rules.like(_path("pod", "name"), Either("pods", block.pods))
    rules.like(_path("node", "name"), Either("nodes", block.nodes))
    rules.among("node_uids", _path("node", "uid"), block.node_uids)
    if block.bound_to is not None:
        rules.present("bound_to", _path(block.bound_to.lower(), "uid"))
    return General(
        origin=origin,
        issuer=block.issuer,
        rules=rules.rules,
        keys=block.keys,
        ca_bundle=block.ca_bundle or "",
        algorithms=ALGORITHMS,
        audiences=block.audiences,
        findings=rules.findings,
    )


def _subjects(block: KubernetesSource) -> frozenset[str] | None:
    """All subjects that can match, if names hold no wildcards: what an index finds the policy by."""
    names = block.service_accounts
    if not names or any(literal_prefix(name) != name for name in names):
        return None
    return frozenset(f"system:serviceaccount:{where}:{name}" for where, name in product(block.namespaces, names))


def _told_alike(claims: Mapping[str, Any]) -> Verdict:
    found = claims.get(_ROOT)
    if found is None:
        return Verdict.MISSING
    account = found.get(_ACCOUNT) if type(found) is dict else None
    if type(found) is not dict or type(account) is not dict:
        return Verdict.WRONG_TYPE
    told = f"system:serviceaccount:{found.get('namespace')}:{account.get('name')}"
    return Verdict.MATCH if claims.get("sub") == told else Verdict.MISMATCH


def _path(kind: str, member: str) -> Path:
    return (_ROOT, kind, member)
