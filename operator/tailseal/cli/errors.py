"""How the command line fails: what is wrong, where, what would be right; and the exit codes that scripts rely on."""

from __future__ import annotations

from typing import IO, Any, Final

import click

FAILED: Final = 1
"""Denied, findings, or a fault."""
USAGE: Final = 2
"""Wrong usage, as click has it too."""
UNREACHABLE: Final = 3
"""Something outside cannot be reached or is not there: a port, a file, an API server."""


class Failure(click.ClickException):
    """Ends the program with a text and, after a blank line, a hint.

    Args:
        message: what is wrong and where.
        hint: what would be right.
        exit_code: see the constants of this module.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code  # type: ignore[misc]  # click calls it a class variable

    def show(self, file: IO[Any] | None = None) -> None:
        """Print to standard error; the most important line last."""
        click.echo(f"error: {self.message}", file=file, err=True)
        if self.hint:
            click.echo(f"\nhint: {self.hint}", file=file, err=True)
