"""What can be wrong with a bundle, in words that logs, status and metrics may carry: never a file's content."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of the bundle that is not in use.

    Args:
        reason: a stable word.
        message: what is wrong, where (file, member), and what would be right.
    """

    reason: str
    message: str


class BundleError(Exception):
    """A volume is refused as a whole; what was in use before stays in use."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(reason, message)


def explain(error: ValidationError) -> str:
    """The first findings of a validation as paths and texts, without the values that were found."""
    findings = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in findings[:3])
