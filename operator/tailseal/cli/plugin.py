"""The same program as a kubectl plugin: `kubectl tailseal …`, and its completion on behalf of kubectl's."""

from __future__ import annotations

import sys
from typing import Final

import click

from tailseal.cli.main import cli, main

_NO_FILES: Final = ":4"
"""cobra's ShellCompDirectiveNoFileComp, which kubectl passes on to the shell."""


def run() -> None:
    """Entry point of `kubectl-tailseal`."""
    main("kubectl tailseal")


def complete() -> None:
    """Entry point of `kubectl_complete-tailseal`: kubectl gives it the words typed so far, the last one unfinished."""
    from click.shell_completion import ShellComplete  # noqa: PLC0415 - needed for this alone

    *words, last = sys.argv[1:] or [""]
    for item in ShellComplete(cli, {}, "kubectl tailseal", "").get_completions(words, last):
        click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(_NO_FILES)


if __name__ == "__main__":  # pragma: no cover - as kubectl starts it in a source tree
    run()
