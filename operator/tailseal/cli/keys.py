"""`tailseal keys`: what the SigningKeys of a cluster are doing, as their status says it; nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import click

from tailseal.cli.errors import FAILED, UNREACHABLE, Failure

if TYPE_CHECKING:
    from tailseal.cluster.port import Cluster, Object


@click.group("keys", short_help="Show the signing keys of a cluster and what their next step waits for.")
def command() -> None:
    """Show the signing keys of a cluster. Only what may be public is read: no Secret is."""


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """What every subcommand takes."""
    for option in (
        click.option("--namespace", "-n", default="", help="Look into this namespace only (default: into all)."),
        click.option("--output", "-o", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True),
        click.option("--kubeconfig", default="", metavar="FILE", help="Default: in-cluster, else ~/.kube/config."),
        click.option("--context", default="", help="Context of the kubeconfig; default: its current one."),
    ):
        function = option(function)
    return function


@command.command("list")
@_options
def list_keys(**options: Any) -> None:  # noqa: ANN401 - click's options
    """List all SigningKeys, a line each."""
    from tailseal.cli.keys_output import listing  # noqa: PLC0415 - help must not wait for it

    click.echo(listing(_found(options), options["output"]))


@command.command("show")
@click.argument("name")
@_options
def show(name: str, **options: Any) -> None:  # noqa: ANN401 - click's options
    """Show the keys of SigningKey NAME: their states, since when, until when, and what comes next."""
    from tailseal.cli.keys_output import timeline  # noqa: PLC0415 - help must not wait for it

    found = [obj for obj in _found(options) if obj["metadata"]["name"] == name]
    if not found:
        where = f"namespace {options['namespace']}" if options["namespace"] else "any namespace"
        raise Failure(
            f"there is no SigningKey {name} in {where}", hint="`tailseal keys list` shows all", exit_code=FAILED
        )
    if len(found) > 1:
        where = ", ".join(obj["metadata"]["namespace"] for obj in found)
        raise Failure(f"there is a SigningKey {name} in each of {where}", hint="name one by -n", exit_code=FAILED)
    click.echo(timeline(found[0], options["output"]))


def connect(kubeconfig: str, context: str) -> AbstractAsyncContextManager[Cluster]:
    """The cluster that is asked."""
    from tailseal.cluster.kube import KubeCluster  # noqa: PLC0415 - slow to import

    return KubeCluster(kubeconfig=kubeconfig, context=context)


def _found(options: dict[str, Any]) -> list[Object]:
    from tailseal.cluster.errors import ClusterError, Forbidden, NotFound  # noqa: PLC0415

    try:
        return asyncio.run(_signing_keys(options))
    except NotFound as error:
        text = "the API server knows no SigningKeys"
        raise Failure(
            text, hint="install Tailseal's CRDs there, or choose another --context", exit_code=UNREACHABLE
        ) from error
    except Forbidden as error:
        raise Failure(str(error), hint="-n NAMESPACE asks for less", exit_code=UNREACHABLE) from error
    except ClusterError as error:
        raise Failure(f"the API server does not answer: {error}", exit_code=UNREACHABLE) from error


async def _signing_keys(options: dict[str, Any]) -> list[Object]:
    """All SigningKeys that are asked for, by namespace and name."""
    from tailseal.cluster.kinds import SIGNING_KEY  # noqa: PLC0415

    async with connect(options["kubeconfig"], options["context"]) as cluster:
        found = [obj async for obj in cluster.list(SIGNING_KEY, options["namespace"])]
    return sorted(found, key=lambda obj: (obj["metadata"]["namespace"], obj["metadata"]["name"]))
