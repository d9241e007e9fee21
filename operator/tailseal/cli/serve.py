"""`tailseal serve DIR`: the same kinds as YAML files in a folder, both workers in one process, no cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tailseal.cli import options
from tailseal.cli.errors import UNREACHABLE, Failure
from tailseal.workers.common.http.address import Address

if TYPE_CHECKING:
    from tailseal.workers.common.http.serving import Listener
    from tailseal.workers.embedded.manifests import FileProblem
    from tailseal.workers.embedded.process import Embedded


@click.command("serve", short_help="Run everything from a folder of YAML files, without a cluster.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--listen",
    type=options.AddressType(),
    help="Where callers come in.  [default: the provider's URL if that is http on this machine, else 127.0.0.1:8080]",
)
@click.option(
    "--management",
    type=options.AddressType(),
    default="127.0.0.1:0",
    show_default=True,
    help="Where health and metrics are; port 0 lets the system choose.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where keys are kept, readable by you only.  [default: DIRECTORY/.tailseal]",
)
@click.option(
    "--open-host",
    "open_hosts",
    multiple=True,
    help="Host, address or range beyond the public internet that keys may be fetched from; may be repeated.",
)
@click.option(
    "--callers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML table of made-up people and machines, who can then log in: for this machine alone.",
)
@options.log_level
def command(
    *,
    directory: Path,
    listen: Address | None,
    management: Address,
    state: Path | None,
    open_hosts: tuple[str, ...],
    callers: Path | None,
    log_level: str,
) -> None:
    """Serve SigningKey, IdentityProvider, TrustPolicy and OAuthClient from the YAML files in DIRECTORY.

    Changes count within 200 ms. A bad file never loses keys or settings; a policy that is bad grants nothing.
    Decisions are written to standard output, one JSON object a line; problems and events to standard error.
    """
    from tailseal.workers.common.telemetry import logs  # noqa: PLC0415 - nothing heavy for --help
    from tailseal.workers.embedded.process import Embedded, Options  # noqa: PLC0415
    from tailseal.workers.embedded.state import State, StateError  # noqa: PLC0415

    logs.configure("warning" if log_level == "info" else log_level)
    place = Options(directory, state or directory / ".tailseal", listen, management, open_hosts, callers)
    try:
        embedded = Embedded(place, _tell, State(place.state))
    except StateError as error:
        raise Failure(str(error), hint="--state names another folder", exit_code=UNREACHABLE) from None
    _run(embedded)


def _run(embedded: Embedded) -> None:
    from tailseal.domain.rotation import LedgerError  # noqa: PLC0415
    from tailseal.tailnet.static import MisplacedError  # noqa: PLC0415
    from tailseal.workers.common.worker import run_loop  # noqa: PLC0415
    from tailseal.workers.embedded.callers import CallersError  # noqa: PLC0415
    from tailseal.workers.embedded.state import StateError  # noqa: PLC0415

    try:
        embedded.turn()
    except (LedgerError, StateError) as error:
        text = f"keys in {embedded.options.state}: {error}"
        raise Failure(text, hint="restore the folder from a backup, or remove it to begin with new keys") from None
    if embedded.worker.loader.snapshot is None:
        text = f"nothing to serve in {embedded.options.directory}: see the problems above"
        raise Failure(text, hint="an IdentityProvider and the SigningKeys that it lists are needed") from None

    def started(public: Listener, private: Listener) -> None:
        _announce(embedded, public, private)

    try:
        run_loop(embedded.run(started))
    except (CallersError, MisplacedError) as error:
        raise Failure(f"--callers: {error}", hint="docs/login.md has an example", exit_code=2) from None
    except OSError as error:
        text = f"cannot listen: {error.strerror or error}"
        raise Failure(text, hint="--listen names another address", exit_code=UNREACHABLE) from None


def _announce(embedded: Embedded, public: Listener, private: Listener) -> None:
    household = embedded.household
    if household.provider is not None:
        click.echo(f"issuer      {household.provider.spec.issuer}", err=True)
    click.echo(f"listening   {public.url}  (token exchange: POST {public.url}/token)", err=True)
    click.echo(f"management  {private.url}  (/readyz, /metrics)", err=True)
    click.echo(f"policies    {len(household.records)}", err=True)
    click.echo(f"keys        {embedded.options.state}", err=True)


def _tell(problems: tuple[FileProblem, ...], happened: tuple[str, ...]) -> None:
    for text in happened:
        click.echo(f"event: {text}", err=True)
    for problem in problems:
        click.echo(f"problem: {problem}", err=True)
