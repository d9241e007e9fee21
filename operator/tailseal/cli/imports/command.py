"""`tailseal import`: takes over the policies, clients and keys of other token services."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from tailseal.cli.errors import UNREACHABLE, USAGE, Failure

_LARGEST: Final = 65_536


@click.group("import", short_help="Take over policies, clients and keys of other token services.")
def command() -> None:
    """Take over policies, clients and keys of other token services."""


@command.command("tailsts", short_help="Policies of TailSTS: TOML in, YAML out.")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--provider", default="tailseal", show_default=True, metavar="[NAMESPACE/]NAME", help="The IdentityProvider."
)
@click.option("--upstream", default="tailscale", show_default=True, help="Its upstream that gives Tailscale tokens.")
@click.option("-n", "--namespace", default="", help="Namespace of the policies.  [default: none is written]")
@click.option(
    "--audience",
    "audiences",
    multiple=True,
    help="Whom tokens must be for; may be repeated.  [default: the provider's issuer and its token service's URL]",
)
def tailsts(*, directory: Path, provider: str, upstream: str, namespace: str, audiences: tuple[str, ...]) -> None:
    """Write TrustPolicies for the TOML policies in DIR to standard output; comments say what had to be added, and why.

    All files of DIR are taken, hidden ones and subfolders left out, as TailSTS does. If one of them cannot be taken
    over, nothing is written.

    Exit codes: 0 success, 1 a policy cannot be taken over, 2 wrong usage, 3 a file cannot be read.
    """
    from tailseal.cli.imports.tailsts import NotTakenOverError, Target, translate  # noqa: PLC0415
    from tailseal.cli.output import printable  # noqa: PLC0415 - nothing heavy for --help

    files = _files(directory)
    if not files:
        raise Failure(f"there are no files in {directory}", hint="DIR is what --policies-dir named", exit_code=USAGE)
    provider_namespace, _, name = provider.rpartition("/")
    try:
        written = translate(files, Target(name, provider_namespace, namespace, upstream, audiences))
    except NotTakenOverError as error:
        raise Failure("\n       ".join(map(printable, error.problems)), hint="nothing was written") from None
    click.echo(written, nl=False)


@command.command("tsidp", short_help="Clients and key of tsidp: JSON in, YAML out.")
@click.argument(
    "places", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--provider", default="tailseal", show_default=True, metavar="[NAMESPACE/]NAME", help="The IdentityProvider."
)
@click.option("-n", "--namespace", default="", help="Namespace of the clients.  [default: none is written]")
@click.option("--signing-key", default="tsidp", show_default=True, help="Name of the SigningKey for tsidp's key.")
def tsidp(*, places: tuple[Path, ...], provider: str, namespace: str, signing_key: str) -> None:
    """Write OAuthClients, their Secrets and a SigningKey for tsidp's oidc-funnel-clients.json and oidc-key.json.

    Ids, secrets and the key stay as they are, so that applications need no change. They go to standard output IN CLEAR.
    If anything cannot be taken over, nothing is written.

    Exit codes: 0 success, 1 something cannot be taken over, 2 wrong usage, 3 a file cannot be read.
    """
    from tailseal.cli.imports.tailsts import NotTakenOverError  # noqa: PLC0415
    from tailseal.cli.imports.tsidp import Target, translate  # noqa: PLC0415
    from tailseal.cli.output import printable  # noqa: PLC0415 - nothing heavy for --help

    provider_namespace, _, name = provider.rpartition("/")
    try:
        files = {str(path): path.read_bytes() for path in places}
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}", exit_code=UNREACHABLE) from None
    try:
        written = translate(files, Target(name, provider_namespace, namespace, signing_key))
    except NotTakenOverError as error:
        raise Failure("\n       ".join(map(printable, error.problems)), hint="nothing was written") from None
    click.echo(written, nl=False)


@command.command("tailbone", short_help="Keys of Tailbone: JWK files in, YAML out.")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-n", "--namespace", default="", help="Namespace of the SigningKeys.  [default: none is written]")
@click.option(
    "--signing-key", default="tailbone", show_default=True, help="Name of the SigningKey for the key that signs."
)
@click.option("--all", "every", is_flag=True, help="Take keys along that no longer sign, under names of their own.")
def tailbone(*, directory: Path, namespace: str, signing_key: str, every: bool) -> None:
    """Write a SigningKey and its Secret for the newest *.private.jwk in DIR, which is the one that Tailbone signs with.

    The key keeps its id. It goes to standard output IN CLEAR. If a key cannot be taken over, nothing is written.

    Exit codes: 0 success, 1 a key cannot be taken over, 2 wrong usage, 3 a file cannot be read.
    """
    from tailseal.cli.imports.tailbone import Target, translate  # noqa: PLC0415
    from tailseal.cli.imports.tailsts import NotTakenOverError  # noqa: PLC0415
    from tailseal.cli.output import printable  # noqa: PLC0415 - nothing heavy for --help

    try:
        written = translate(_files(directory), Target(namespace, signing_key, every))
    except NotTakenOverError as error:
        raise Failure("\n       ".join(map(printable, error.problems)), hint="nothing was written") from None
    click.echo(written, nl=False)


def _files(directory: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        for path in sorted(directory.iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            if path.stat().st_size > _LARGEST:
                raise Failure(f"{path}: longer than {_LARGEST} bytes", hint="this is no policy: move it elsewhere")
            files[path.name] = path.read_bytes()
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}", exit_code=UNREACHABLE) from None
    return files
