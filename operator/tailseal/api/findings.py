"""What is wrong with a manifest: where, what, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tailseal.api.reasons import Reason


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Args:
        path: the field, such as `spec.from.oidc.claims[2].path`.
        message: what is wrong and what would be right, without the value: it may be long, or a secret.
        reason: the condition reason that it leads to.
    """

    path: str
    message: str
    reason: Reason = Reason.INVALID_SPEC

    def __str__(self) -> str:
        """`path: message`."""
        return f"{self.path}: {self.message}"


class SpecError(ValueError):
    """A manifest that cannot be used.

    Args:
        findings: everything that is wrong, at least one.
    """

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(map(str, self.findings)))


def join_path(base: str, parts: Iterable[str | int]) -> str:
    """A field path: `("claims", 2, "path")` below `spec.from.oidc` is `spec.from.oidc.claims[2].path`."""
    return base + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
