"""The command `tailseal`: subcommands are imported only when they are run, so that help costs nothing."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Final

import click

from tailseal.cli.errors import FAILED


@dataclass(frozen=True, slots=True)
class _Entry:
    module: str
    help: str


COMMANDS: Final = {
    "operator": _Entry("tailseal.cli.operator", "Run the operator against a Kubernetes API server."),
    "sts": _Entry("tailseal.cli.sts", "Run the token service on a bundle directory."),
    "idp": _Entry("tailseal.cli.idp", "Run the identity provider on a bundle directory."),
    "serve": _Entry("tailseal.cli.serve", "Run everything from a folder of YAML files, without a cluster."),
    "explain": _Entry("tailseal.cli.explain.command", "Say why a token is trusted or not, policy by policy."),
    "lint": _Entry("tailseal.cli.lint.command", "Find what is wrong with manifests, without a cluster."),
    "status": _Entry(
        "tailseal.cli.status.command", "Show all objects of a cluster, whether they work, what they wait for."
    ),
    "whoami": _Entry("tailseal.cli.whoami", "Say who a kubeconfig or a token says you are."),
    "keys": _Entry(
        "tailseal.cli.keys.command", "Show, rotate and revoke the signing keys of a cluster; verify tokens."
    ),
    "kube": _Entry("tailseal.cli.kube", "Have Kubernetes API servers trust our tokens."),
    "kubectl-credential": _Entry(
        "tailseal.cli.credential.command", "Log kubectl in with a token of ours: an exec plugin."
    ),
    "guard": _Entry("tailseal.cli.guard", "Guard services by what the tailnet grants their callers."),
    "import": _Entry("tailseal.cli.imports.command", "Take over policies, clients and keys of other token services."),
}
"""Each module has its click command under the name `command`."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and first lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(entry.module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in the help text."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 denied, findings or a fault, 2 wrong usage, 3 something needed is out of reach.",
)
@click.version_option(package_name="tailseal", prog_name="tailseal")
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected fault.")
def cli(*, debug: bool) -> None:
    """Trust as a Kubernetes resource: a token service and an OpenID provider whose keys rotate by themselves."""
    if not debug:
        sys.excepthook = _tell


def _tell(kind: type[BaseException], _error: BaseException, _trace: object) -> None:
    """Name the fault without its text, which may hold what no log may."""
    click.echo(f"error: unexpected fault: {kind.__name__}", err=True)
    click.echo("\nhint: run again as `tailseal --debug …` for the traceback, and report it", err=True)


def main(name: str = "tailseal") -> None:
    """Entry point of the installed program, by the name that its help shows."""
    try:
        cli(prog_name=name)
    except KeyboardInterrupt:  # pragma: no cover - timing of a person
        sys.exit(FAILED)
