"""`tailseal guard serve`: guards any service beside a proxy that asks before it passes a request on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tailseal.cli import options
from tailseal.cli.errors import UNREACHABLE, USAGE, Failure
from tailseal.workers.common.http.address import Address, UnixAddress

if TYPE_CHECKING:
    from tailseal.guard.rules import Rules
    from tailseal.guard.sight import Sight
    from tailseal.workers.common.http.serving import Listener

_SOCKET: Final = "/var/run/tailscale/tailscaled.sock"


@click.group("guard", short_help="Guard services by what the tailnet grants their callers.")
def command() -> None:
    """Guard services by what the tailnet grants their callers."""


class _Mode(click.ParamType[int]):
    """Permissions in octal."""

    name = "mode"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the text of the command line."""
        try:
            mode = value if isinstance(value, int) else int(str(value), 8)
        except ValueError:
            mode = -1
        if not 0 <= mode <= 0o777:  # noqa: PLR2004 - what permissions are
            self.fail(f"{value!r}: permissions in octal are needed, e.g. 660", param, ctx)
        return mode


@command.command("serve", short_help="Answer nginx, Traefik or Envoy whether a request may pass.")
@click.argument("rules", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--listen",
    type=options.PlaceType(),
    default="127.0.0.1:9180",
    show_default=True,
    envvar="TAILSEAL_LISTEN",
    help="Where the proxy asks: HOST:PORT or unix:PATH.",
)
@click.option(
    "--socket-mode", type=_Mode(), default="660", show_default=True, help="Permissions of the unix socket, in octal."
)
@click.option(
    "--identity",
    type=click.Choice(["address", "connection", "capabilities"]),
    default="address",
    show_default=True,
    help="What the proxy tells of the caller: address, in X-Forwarded-For; connection (address and port), in"
    " Tailseal-Connection, of a proxy on loopback; capabilities, what serve wrote.",
)
@click.option(
    "--asking",
    type=click.Choice(["forwarded", "original"]),
    default="forwarded",
    show_default=True,
    help="Where the proxy tells what was asked: forwarded, in X-Forwarded-Method and -Uri; original, in the request"
    " itself.",
)
@click.option("--localapi", default=_SOCKET, show_default=True, help="Socket of tailscaled.")
@click.option("--service", default="", help="Tailscale Service that callers come to, such as svc:app.")
@options.log_level
def serve(  # noqa: PLR0913 - one argument an option
    *,
    rules: Path,
    listen: Address | UnixAddress,
    socket_mode: int,
    identity: str,
    asking: str,
    localapi: str,
    service: str,
    log_level: str,
) -> None:
    """Answer a proxy, by the RULES in a YAML file, whether a request may pass: 200, or 401, 403, 503.

    Who is calling is asked of tailscaled; what they may do stands in the tailnet's policy file. What no rule is about
    is refused.

    Exit codes: 0 success, 1 the rules are wrong, 2 wrong usage, 3 the file cannot be read or the address not be bound.
    """
    from tailseal.guard.forward import Asking, Forward  # noqa: PLC0415 - nothing heavy for --help
    from tailseal.workers.common.http.serving import Listener  # noqa: PLC0415
    from tailseal.workers.common.telemetry import logs  # noqa: PLC0415

    logs.configure(log_level)
    if isinstance(listen, UnixAddress):
        listen = dataclasses.replace(listen, mode=socket_mode)
    app = Forward(_sight(identity, localapi, service), _rules(rules), Asking(asking))
    try:
        _run(Listener(app, listen))
    except OSError as error:
        text = f"cannot listen on {listen}: {error.strerror or error}"
        raise Failure(text, hint="is another process there already?", exit_code=UNREACHABLE) from None


def _run(listener: Listener) -> None:
    import asyncio  # noqa: PLC0415 - nothing heavy for --help

    from tailseal.workers.common.worker import run_loop, stop_signal  # noqa: PLC0415

    async def until_stopped() -> None:
        stop = stop_signal()
        serving = asyncio.create_task(listener.run())
        await listener.accepting()
        click.echo(f"listening  {listener.url}", err=True)
        await stop.wait()
        listener.stop()
        await serving

    run_loop(until_stopped())


def _sight(identity: str, localapi: str, service: str) -> Sight:
    from tailseal.guard.sight import Proxied, ProxiedConnection, ProxiedHeaders  # noqa: PLC0415
    from tailseal.tailnet import Direct, LocalApi, Serve  # noqa: PLC0415

    if identity == "capabilities":
        if service:
            raise Failure("--service means nothing to --identity capabilities", hint="leave it out", exit_code=USAGE)
        return ProxiedHeaders()
    api = LocalApi(localapi)
    return Proxied(Serve(api, service)) if identity == "address" else ProxiedConnection(Direct(api, service))


def _rules(path: Path) -> Rules:
    import yaml  # noqa: PLC0415

    from tailseal.guard.rules import Rules, RulesError  # noqa: PLC0415

    try:
        return Rules.read(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", exit_code=UNREACHABLE) from None
    except UnicodeError:
        raise Failure(f"{path}: not UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Failure(f"{path}: not YAML" + (f" at line {mark.line + 1}" if mark else "")) from None
    except RulesError as error:
        raise Failure(f"{path}: {error}") from None
