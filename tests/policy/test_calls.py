"""A decision stays cheap by the number of calls it makes: timings tell more of the machine than of a change."""

from __future__ import annotations

import sys
from types import FrameType

from fakes.trust import BILLING, ISSUER, NOW, SETTINGS, compiled, subject
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, GrantRequest, decide
from tailseal.domain.policy.index import PolicyIndex

MOST = 17
"""Calls of Python functions in the decision that `make bench` times; each costs some 0.15 µs."""


def test_a_decision_by_an_exact_rule_and_a_glob_makes_few_calls() -> None:
    def policy(owner: int) -> CompiledPolicy:
        rules = [{"claim": "owner_id", "exact": str(owner)}]
        return compiled({"subject": {"glob": "repo:*/*:ref:refs/heads/main"}, "claims": rules}, policy=f"a/p{owner}")

    index = PolicyIndex(policy(owner) for owner in range(100))
    said = {"sub": "repo:octo/app:ref:refs/heads/main", "owner_id": "65", "ref": "refs/heads/main"}
    bearer = subject(said, source=index.issuers(ISSUER)[0])
    request = GrantRequest(audiences=(BILLING,))
    called: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_qualname)

    decide(index, bearer, request, SETTINGS, NOW)  # what is compiled at its first use
    sys.setprofile(note)
    decision = decide(index, bearer, request, SETTINGS, NOW)
    sys.setprofile(None)
    assert isinstance(decision, Granted)
    assert len(called) <= MOST, called
