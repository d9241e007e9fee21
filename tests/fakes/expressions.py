"""Policies with expressions, and a question to them."""

from __future__ import annotations

from typing import Any

from fakes.trust import BILLING, NOW, SETTINGS, compiled, record, settings, spec, subject
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import Bound
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, GrantRequest, Refused, decide
from tailseal.domain.policy.expressions.conditions import Conditions
from tailseal.domain.policy.index import PolicyIndex

TEAM = {"name": "team", "string": "claims.team"}


class Work:
    """A clock that only evaluations drive: each takes the next of these times."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = iter(seconds)
        self.now = 0.0
        self.running = False

    def __call__(self) -> float:
        if self.running:
            self.now += next(self.seconds, 0.0)
        self.running = not self.running
        return self.now


def ask(
    *policies: CompiledPolicy,
    claims: dict[str, Any] | None = None,
    work: Work | None = None,
    **request: Any,  # noqa: ANN401
) -> Granted | Refused:
    limits = Conditions(subject(claims).claims, work) if work else None
    return decide(PolicyIndex(policies), subject(claims), GrantRequest(**request), SETTINGS, NOW, conditions=limits)


def minting(policy: str = "team-a/deploy", **jwt: Any) -> CompiledPolicy:  # noqa: ANN401
    return compiled(grants=[{"name": "g", "jwt": {"audiences": [BILLING]} | jwt}], policy=policy)


def refused(jwt: dict[str, Any], **bound: Any) -> set[tuple[str, Reason]]:  # noqa: ANN401
    members = {"name": "b", "namespaces": ("*",), "issuers": ("*",), "key_sources": ("*",), "audiences": ("*",)} | bound
    grants = [{"name": "g", "jwt": {"audiences": [BILLING]} | jwt}]
    found = accepted(record(spec(grants=grants)), settings(bounds=(Bound(**members),)))
    return set() if isinstance(found, CompiledPolicy) else {(finding.path, finding.reason) for finding in found}
