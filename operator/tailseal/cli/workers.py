"""What the commands of both workers have in common: their options, and how a process of theirs runs and ends."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tailseal.cli import options
from tailseal.cli.errors import UNREACHABLE, Failure
from tailseal.workers.common.http.address import Address, UnixAddress

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from tailseal.state.protocol import Store
    from tailseal.workers.common.worker import Worker
    from tailseal.workers.idp.tailnet import OnTailnet

_GARBAGE: Final = 20_000
"""New objects before cycles are looked for: looking through modules and policies, which stay, is a third of a load."""

_LETS_GO_WITHIN: Final = 25.0
"""Seconds for another process to let go of our file: a pod that was deleted ends beside its successor, which should
neither fail, as the kubelet would then make it wait for longer, nor be silent for the 30 s that the kubelet bears."""

_LOOKS_AGAIN: Final = 0.1

_FOLDER = click.Path(file_okay=False, path_type=Path)

_OPTIONS = (
    click.option(
        "--bundle",
        type=_FOLDER,
        required=True,
        envvar="TAILSEAL_BUNDLE",
        help="Directory with the volumes signing, policies and credentials.",
    ),
    click.option(
        "--listen",
        type=options.AddressType(),
        required=True,
        envvar="TAILSEAL_LISTEN",
        help="Where callers come in: one address, never all networks.",
    ),
    click.option(
        "--management",
        type=options.AddressType(),
        required=True,
        envvar="TAILSEAL_MANAGEMENT",
        help="Where health, metrics and the operator's poll are answered.",
    ),
    click.option(
        "--tls", type=_FOLDER, envvar="TAILSEAL_TLS", help="Directory with tls.crt and tls.key; without: http."
    ),
    click.option(
        "--drain",
        type=click.FloatRange(min=0),
        default=0,
        show_default=True,
        envvar="TAILSEAL_DRAIN",
        help="Seconds between becoming unready and closing the port, where no preStop hook waits already.",
    ),
    click.option(
        "--state",
        type=_FOLDER,
        envvar="TAILSEAL_STATE",
        help="Directory of this replica's own file with logins and one-time marks, where storage.type is SQLite.",
    ),
    click.option("--pod-uid", default="", envvar="POD_UID", help="Who this replica is to the operator."),
    click.option(
        "--socket",
        type=click.Path(path_type=Path),
        default=options.SOCKET,
        show_default=True,
        envvar="TAILSEAL_SOCKET",
        help="Where `tailseal explain --decision` asks.",
    ),
    options.log_level,
)


def worker_command(
    name: str, summary: str, application: str, further: Sequence[Callable[..., Any]] = ()
) -> click.Command:
    """The command that runs a worker.

    Args:
        name: of the component: `sts` or `idp`.
        summary: first line of its help.
        application: module whose `of_worker` makes the endpoints.
        further: options of this component alone.
    """

    @click.pass_context
    def run(ctx: click.Context, /, **arguments: Any) -> None:  # noqa: ANN401, ARG001 - click passes options by name
        _run(name, application, **arguments)

    for option in reversed((*_OPTIONS, *further)):
        run = option(run)
    return click.command(name, help=summary)(run)


def _run(  # noqa: PLR0913 - one argument an option
    component: str,
    application: str,
    *,
    bundle: Path,
    listen: Address,
    management: Address,
    tls: Path | None,
    drain: float,
    state: Path | None,
    pod_uid: str,
    socket: Path,
    log_level: str,
    tailnet: Address | UnixAddress | None = None,
    localapi: str = "",
    service: str = "",
    hand_over: bool = False,
) -> None:
    gc.set_threshold(_GARBAGE)
    from tailseal.workers.common.bundle.source import DirectorySource  # noqa: PLC0415
    from tailseal.workers.common.telemetry import logs  # noqa: PLC0415 - nothing heavy for --help
    from tailseal.workers.common.worker import Place, Worker, run_loop  # noqa: PLC0415
    from tailseal.workers.exchange.explaining import explaining  # noqa: PLC0415

    logs.configure(log_level)
    worker = Worker(component, DirectorySource(bundle), clock=time.time, pod_uid=pod_uid)
    if state is not None:
        worker.state.local = keeping(state)
    of_worker: Callable[[Worker], ASGIApp] = importlib.import_module(application).of_worker
    try:
        place = Place(listen, management, tls, drain, tailnet, hand_over)
        beside = [explaining(worker.runtime, socket)]
        if tailnet is None:
            run_loop(worker.run(of_worker(worker), place, beside=beside))
            return
        joined = _joined(worker, tailnet, localapi, service)
        beside.append(joined.watch)
        run_loop(worker.run(joined.elsewhere, place, beside=beside, over_tailnet=joined.over_tailnet))
    except OSError as error:
        text = f"cannot listen on {listen} and {management}: {error.strerror or error}"
        raise Failure(text, hint="is another process there already?", exit_code=UNREACHABLE) from None


def _joined(worker: Worker, place: Address | UnixAddress, localapi: str, service: str) -> OnTailnet:
    from tailseal.workers.idp.tailnet import join  # noqa: PLC0415 - nothing of it without --tailnet

    return join(worker, place, localapi, service)


def keeping(folder: Path) -> Store:
    """What keeps state in a folder, once no other process does any more.

    Raises:
        Failure: the folder cannot be used, or another process does not let go of it.
    """
    from tailseal.state.protocol import StateUnavailable  # noqa: PLC0415
    from tailseal.state.sqlite import FILE, SQLiteStore  # noqa: PLC0415 - nothing of it without --state
    from tailseal.state.sqlite.file import InUse  # noqa: PLC0415

    deadline = time.monotonic() + _LETS_GO_WITHIN
    while True:
        try:
            return SQLiteStore(folder / FILE, clock=time.time)
        except StateUnavailable as error:
            if not isinstance(error, InUse) or time.monotonic() > deadline:
                hint = "--state must be a directory that this user may write, of one process alone"
                raise Failure(f"cannot keep state: {error}", hint=hint, exit_code=UNREACHABLE) from None
        time.sleep(_LOOKS_AGAIN)
