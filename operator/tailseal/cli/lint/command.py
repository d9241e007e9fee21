"""`tailseal lint`: everything that is wrong with a folder of manifests, before it reaches a cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tailseal.cli.errors import FAILED, USAGE, Failure

if TYPE_CHECKING:
    from tailseal.cli.folder import Manifests
    from tailseal.cli.lint.output import Row
    from tailseal.domain.policy.review.lint import Found

_EXISTING = click.Path(exists=True, path_type=Path)


@click.command("lint", short_help="Find what is wrong with manifests, without a cluster.")
@click.argument("places", metavar="DIR...", nargs=-1, required=True, type=_EXISTING)
@click.option(
    "--with",
    "context",
    multiple=True,
    type=_EXISTING,
    help="Further manifests that are there, such as the IdentityProvider's; not judged themselves; may be repeated.",
)
@click.option("-R", "--recursive", is_flag=True, help="Look into folders within folders.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "sarif", "github"]), default="text", show_default=True
)
def command(*, places: tuple[Path, ...], context: tuple[Path, ...], recursive: bool, output: str) -> None:
    """Find what is wrong with the manifests in DIR (folders or files), by the code that accepts them in a cluster.

    Nothing is sent or fetched. Findings go to standard output, their number to standard error.

    Exit codes: 0 nothing but notes, 1 findings, 2 wrong usage.
    """
    from tailseal.cli.folder import read_all  # noqa: PLC0415 - nothing heavy for --help
    from tailseal.cli.lint.output import FORMATS  # noqa: PLC0415
    from tailseal.domain.policy.review.lint import Level, lint  # noqa: PLC0415

    mine = read_all(places, recursive=recursive)
    if not mine.found and not mine.problems:
        where = ", ".join(map(str, places))
        raise Failure(f"there are no manifests in {where}", hint="-R looks into subfolders", exit_code=USAGE)
    others = read_all(context, recursive=recursive)
    found = lint(
        [manifest.obj for manifest in mine.found], [manifest.obj for manifest in others.found], now=time.time()
    )
    rows = [*_unreadable(mine), *_unreadable(others), *_placed(found, mine)]
    if content := FORMATS[output](rows):
        click.echo(content)
    findings = sum(row.level is not Level.NOTE for row in rows)
    notes = f", {len(rows) - findings} notes" if len(rows) > findings else ""
    click.echo(f"{findings} findings{notes} in {len(mine.found)} manifests of {mine.files} files", err=True)
    if findings:
        sys.exit(FAILED)


def _unreadable(manifests: Manifests) -> Iterator[Row]:
    from tailseal.cli.lint.lines import line_of_error  # noqa: PLC0415
    from tailseal.cli.lint.output import Row  # noqa: PLC0415
    from tailseal.domain.policy.review.lint import Level, Rule  # noqa: PLC0415

    for problem in manifests.problems:
        line = line_of_error(problem.message)
        yield Row(_shown(problem.file), line, None, "", problem.message, Rule.UNREADABLE.value, Level.ERROR)


def _placed(found: Iterable[Found], manifests: Manifests) -> Iterator[Row]:
    from tailseal.cli.lint.lines import Lines  # noqa: PLC0415
    from tailseal.cli.lint.output import Row  # noqa: PLC0415
    from tailseal.domain.policy.review.lint import Rule  # noqa: PLC0415

    files = {manifest.key: manifest.file for manifest in reversed(manifests.found)}
    last = {manifest.key: manifest.file for manifest in manifests.found}
    read: dict[str, Lines] = {}
    for entry in found:
        file = (last if entry.rule == Rule.DUPLICATE else files)[entry.key]
        lines = read.setdefault(file, Lines(file)) if file not in read else read[file]
        line = lines.find(entry.key, entry.path)
        message = f"{entry.message} (in {_shown(files[entry.key])})" if file != files[entry.key] else entry.message
        yield Row(_shown(file), line, entry.key, entry.path, message, str(entry.rule), entry.level)


def _shown(file: str) -> str:
    """Relative to the working directory where it lies below: so code scanning and GitHub find it."""
    path, here = Path(file).absolute(), Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else path.as_posix()
