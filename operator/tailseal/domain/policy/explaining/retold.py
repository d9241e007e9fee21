"""A policy's part in a decision as JSON, for whoever retells it: the same from a folder and from a running replica."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailseal.domain.policy.explaining.account import Account, Check

_MEMBERS = ("field", "claim", "outcome", "expected", "found", "fix", "note")


def document(account: Account) -> dict[str, Any]:
    """The account as JSON."""
    failures = account.failures
    return {
        "policy": account.policy,
        "enforcement": "Enforce" if account.enforce else "Audit",
        "outcome": account.outcome,
        "firstFailure": _check(failures[0]) if failures else None,
        "checks": [_check(check) for check in account.checks],
    }


def account(document: Mapping[str, Any]) -> Account:
    """The account that a document was made of."""
    checks = tuple(Check(**check) for check in document["checks"])
    return Account(document["policy"], document["enforcement"] == "Enforce", document["outcome"], checks)


def _check(check: Check) -> dict[str, str]:
    members = {name: getattr(check, name) for name in _MEMBERS}
    return {name: value for name, value in members.items() if value}
