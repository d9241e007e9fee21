"""`tailseal keys`: what the SigningKeys of a cluster are doing, and the two changes that cannot wait for Git."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from tailseal.cli.cluster import Where, ask, signing_keys, where
from tailseal.cli.errors import FAILED
from tailseal.cli.keys import found
from tailseal.cli.output import printable

_output = click.option("--output", "-o", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)
_name = click.argument("name", shell_complete=found.names)


@click.group("keys", short_help="Show, rotate and revoke the signing keys of a cluster; verify tokens.")
def command() -> None:
    """Show, rotate and revoke the signing keys of a cluster, and verify tokens that they signed.

    Only what may be public is read: no Secret is.
    """


@command.command("list")
@_output
@where
def list_keys(*, where: Where, output: str) -> None:
    """List all SigningKeys, a line each."""
    from tailseal.cli.keys.output import listing  # noqa: PLC0415 - help must not wait for it

    click.echo(listing(_all(where), output))


@command.command("show")
@_name
@_output
@where
def show(name: str, *, where: Where, output: str) -> None:
    """Show the keys of SigningKey NAME: their states, since when, until when, and what comes next."""
    from tailseal.cli.keys.output import timeline  # noqa: PLC0415 - help must not wait for it

    click.echo(timeline(found.only(_all(where), name, where.namespace), output))


@command.command("rotate")
@_name
@where
def rotate(name: str, *, where: Where) -> None:
    """Ask for a new signer of SigningKey NAME.

    It signs once every replica has it and every cache can know it: no token fails. Standard output has the edit that
    makes the same of it in Git, which would take it back otherwise.
    """
    from tailseal.cli.keys.change import rotate as change  # noqa: PLC0415 - help must not wait for it

    change(where, name)


@command.command("revoke")
@_name
@click.argument("kid", shell_complete=found.key_ids)
@click.option("--yes", "-y", is_flag=True, help="Ask nothing.")
@where
def revoke(name: str, kid: str, *, where: Where, yes: bool) -> None:
    """Revoke key KID of SigningKey NAME at once and for ever: every token that it signed dies.

    Standard output has the edit that makes the same of it in Git.
    """
    from tailseal.cli.keys.change import revoke as change  # noqa: PLC0415 - help must not wait for it

    change(where, name, kid, yes=yes)


@command.command("poke")
@click.option("--issuer", required=True, metavar="URL", help="Whose key set is to be fetched.")
@click.option("--audience", required=True, help="By which the API server takes tokens of the issuer.")
@click.option("--server", "servers", multiple=True, metavar="URL", help="Instance to ask; may be repeated.")
@click.option("--wait", "patience", default="0s", show_default=True, help="Go on asking for so long until it fetches.")
@where
def poke(*, where: Where, issuer: str, audience: str, servers: tuple[str, ...], patience: str) -> None:
    """Make a kube-apiserver that trusts an issuer fetch its key set, after a key was revoked.

    It never lets go of a key by itself. Each instance has a cache of its own: behind a load balancer name them all.
    Without --server it is the kubeconfig's. Exit code 0: each was seen to fetch; 1: one was not.
    """
    from tailseal.api.durations import parse_duration  # noqa: PLC0415 - help must not wait for it
    from tailseal.cli.keys import poke as keys_poke  # noqa: PLC0415

    try:
        wait = parse_duration(patience)
    except ValueError:
        raise click.UsageError(f"--wait {patience}: a duration such as 5m is needed") from None
    for server in servers:
        parts = urlsplit(server)
        if parts.scheme != "https" or not parts.hostname:
            raise click.UsageError(f"--server {printable(server)}: an https URL is needed")
    sys.exit(max([keys_poke.poke(where, server, issuer, audience, wait) for server in servers or ("",)]))


@command.command("verify")
@click.argument("token")
@click.option(
    "--jwks",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JWK Set to verify with, instead of the keys of the cluster.",
)
@_output
@where
def verify(token: str, *, where: Where, jwks: Path | None, output: str) -> None:
    """Say whether TOKEN verifies, with which key, until when, or why not; `-` reads it from standard input.

    The token itself is never printed. Exit code 0: it verifies; 1: it does not.
    """
    from tailseal.cli.keys import verify as keys_verify  # noqa: PLC0415 - help must not wait for it

    text = (sys.stdin.read() if token == "-" else token).strip()  # noqa: S105 - the usual name of standard input
    verdict = keys_verify.offline(text, jwks) if jwks is not None else keys_verify.in_cluster(text, where)
    click.echo(keys_verify.said(verdict, output))
    if not verdict.verifies:
        sys.exit(FAILED)


def _all(place: Where) -> list[Any]:
    return ask(place, lambda cluster: signing_keys(cluster, place.namespace))
