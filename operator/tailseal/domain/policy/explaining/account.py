"""What an explanation consists of: each thing that a policy asked for, and how the policy decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tailseal.domain.policy.matchers import Verdict

MATCH: Final = Verdict.MATCH.value


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a policy asked for.

    Args:
        field: its place in the manifest.
        outcome: `match`, or what was found instead: a verdict or the reason of a denial.
        expected: what the policy asks for.
        found: what the token or the request has there, as far as it may be shown; empty if there is nothing.
        fix: what would help; empty if nothing is wrong.
        claim: the claim that was looked at, dots between the names of nested ones; empty if it was none.
        note: what is to be known although nothing is wrong; empty if there is nothing.
    """

    field: str
    outcome: str
    expected: str = ""
    found: str = ""
    fix: str = ""
    claim: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was as asked for."""
        return self.outcome == MATCH


@dataclass(frozen=True, slots=True)
class Account:
    """How one policy decided.

    Args:
        policy: its id.
        enforce: False: it never grants.
        outcome: `match`: it grants, or would under `Enforce`; else the reason why not.
        checks: everything it asked for, in the order of evaluation.
    """

    policy: str
    enforce: bool
    outcome: str
    checks: tuple[Check, ...]

    @property
    def grants(self) -> bool:
        """Whether a token came of it."""
        return self.enforce and self.outcome == MATCH

    @property
    def failures(self) -> tuple[Check, ...]:
        """What stood in the way; grants only if none of them fits."""
        if self.outcome == MATCH:
            return tuple(check for check in self.checks if check.field == "spec.enforcement")
        fits = any(check.passed for check in self.checks if check.field.startswith("spec.grants["))
        return tuple(
            check for check in self.checks if not check.passed and not (fits and check.field.startswith("spec.grants["))
        )
