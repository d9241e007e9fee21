"""`python -m tailseal_dev.localnode --kubeconfig FILE --directory DIR`: a node until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
from pathlib import Path

import click

from tailseal_dev.api import Api
from tailseal_dev.localnode.node import LocalNode


@click.command()
@click.option("--kubeconfig", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--directory", type=click.Path(path_type=Path), required=True, help="Pods' files and logs.")
@click.option("--name", default="local", show_default=True, help="Name of the node.")
@click.option("--sync-period", default=60.0, show_default=True, help="Seconds between refreshes of volumes.")
@click.option("--expose", multiple=True, metavar="NAMESPACE/SERVICE=PORT", help="Reach a Service at 127.0.0.1:PORT.")
@click.option("--sidecar", default="", metavar="COMMAND", help="What stands in for native sidecars.")
def main(
    kubeconfig: Path, directory: Path, name: str, sync_period: float, expose: tuple[str, ...], sidecar: str
) -> None:
    """Run pods as processes of this machine."""
    services = {service: int(port) for service, _, port in (entry.partition("=") for entry in expose)}
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run(kubeconfig, directory.resolve(), name, sync_period, services, tuple(shlex.split(sidecar))))


async def _run(
    kubeconfig: Path,
    directory: Path,
    name: str,
    sync_period: float,
    services: dict[str, int],
    sidecar: tuple[str, ...],
) -> None:
    current = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, current.cancel if current else lambda: None)
    async with Api(kubeconfig) as api:
        node = LocalNode(
            api, name=name, directory=directory, sync_period=sync_period, services=services, sidecar=sidecar
        )
        await node.run()


if __name__ == "__main__":
    main()
