"""`tailseal status`: everything of ours in a cluster on one screen, and what each object waits for."""

from __future__ import annotations

import sys

import click

from tailseal.cli.cluster import Where, ask, where
from tailseal.cli.errors import FAILED

_FORMS = ("text", "json", "yaml", "name")


@click.command("status", short_help="Show all objects of ours, whether they work, and what they wait for.")
@click.option("--output", "-o", type=click.Choice(_FORMS), default="text", show_default=True)
@where
def command(*, where: Where, output: str) -> None:
    """Show IdentityProviders, SigningKeys, TrustPolicies and OAuthClients: whether they work, and what they wait for.

    Kinds that may not be listed are named, and the rest is shown all the same.

    Exit codes: 0 all is well, 1 something is not ready, 2 wrong usage, 3 the API server is out of reach.
    """
    from tailseal.cli.status import output as status_output  # noqa: PLC0415 - help must not wait for it
    from tailseal.cli.status.found import survey  # noqa: PLC0415

    found = ask(where, lambda cluster: survey(cluster, where.namespace))
    if text := status_output.said(found, output, where.namespace):
        click.echo(text)
    for line in found.refused:
        click.echo(f"warning: {line}", err=True)
    if found.refused and not where.namespace:
        click.echo("\nhint: -n NAMESPACE asks for less", err=True)
    if not found.well:
        sys.exit(FAILED)
