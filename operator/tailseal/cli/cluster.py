"""Asks the cluster that a command's options name, and says why there is no answer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tailseal.cli import options
from tailseal.cli.errors import FAILED, UNREACHABLE, Failure

if TYPE_CHECKING:
    from tailseal.cluster.port import Cluster, Object

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster is asked, and for what of it.

    Args:
        namespace: empty: all.
        kubeconfig: empty: in-cluster, else the usual file.
        context: empty: the current one.
    """

    namespace: str = ""
    kubeconfig: str = ""
    context: str = ""


def where(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say where, as kubectl has them; the command is given one `Where`. Innermost of decorators."""

    @functools.wraps(function)
    def command(
        *arguments: Any,  # noqa: ANN401 - click's arguments
        namespace: str,
        all_namespaces: bool,
        kubeconfig: str,
        context: str,
        **others: Any,  # noqa: ANN401 - click's options
    ) -> None:
        if namespace and all_namespaces:
            raise click.UsageError("-n and -A contradict each other")
        function(*arguments, where=Where(namespace, kubeconfig, context), **others)

    for option in (
        options.context,
        options.kubeconfig,
        click.option("--all-namespaces", "-A", is_flag=True, help="Look into all namespaces: what happens without -n."),
        click.option(
            "--namespace", "-n", default="", help="Look into this namespace only.", shell_complete=_namespaces
        ),
    ):
        command = option(command)
    return command


def connect(kubeconfig: str, context: str) -> AbstractAsyncContextManager[Cluster]:
    """The cluster that is asked."""
    from tailseal.cluster.kube import KubeCluster  # noqa: PLC0415 - slow to import

    return KubeCluster(kubeconfig=kubeconfig, context=context)


def ask(place: Where, question: Callable[[Cluster], Awaitable[T]]) -> T:
    """The answer of the cluster, or a `Failure` that says why there is none."""
    from tailseal.cluster.errors import ClusterError, Forbidden, Invalid, NoCredentials, NotFound  # noqa: PLC0415

    async def asked() -> T:
        async with connect(place.kubeconfig, place.context) as cluster:
            return await question(cluster)

    try:
        return asyncio.run(asked())
    except NotFound as error:
        hint = "install Tailseal's CRDs there, or choose another --context"
        raise Failure("the API server knows no SigningKeys", hint=hint, exit_code=UNREACHABLE) from error
    except NoCredentials as error:
        hint = "`kubectl config get-contexts` lists what --context may name; --kubeconfig names another file"
        raise Failure(str(error), hint=hint, exit_code=UNREACHABLE) from error
    except Forbidden as error:
        raise Failure(str(error), hint="-n NAMESPACE asks for less", exit_code=UNREACHABLE) from error
    except Invalid as error:
        raise Failure(f"the API server refuses it: {error}", exit_code=FAILED) from error
    except ClusterError as error:
        raise Failure(f"the API server does not answer: {error}", exit_code=UNREACHABLE) from error


async def signing_keys(cluster: Cluster, namespace: str) -> list[Object]:
    """All SigningKeys there, by namespace and name."""
    from tailseal.cluster.kinds import SIGNING_KEY  # noqa: PLC0415

    found = [obj async for obj in cluster.list(SIGNING_KEY, namespace)]
    return sorted(found, key=lambda obj: (obj["metadata"]["namespace"], obj["metadata"]["name"]))


def _namespaces(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    found = sorted({obj["metadata"]["namespace"] for obj in known(ctx, everywhere=True)})
    return [name for name in found if name.startswith(incomplete)]


def known(ctx: click.Context, *, everywhere: bool = False) -> list[Object]:
    """All SigningKeys of the place that the line names so far; a person who types is shown no errors."""
    said = {name: ctx.params.get(name) or "" for name in ("namespace", "kubeconfig", "context")}
    place = Where(**said)
    namespace = "" if everywhere else place.namespace
    try:
        return ask(place, lambda cluster: signing_keys(cluster, namespace))
    except Failure:
        return []
