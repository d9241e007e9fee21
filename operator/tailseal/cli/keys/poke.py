"""`tailseal keys poke`: makes kube-apiservers fetch an issuer's key set, so that they let go of what left it."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from tailseal.cli.errors import FAILED, UNREACHABLE, Failure
from tailseal.cli.output import printable
from tailseal.domain.poke import FRESH, RANDOM, REMEMBERED, Fetch, fetches, process, token

if TYPE_CHECKING:
    from tailseal.cli.cluster import Where
    from tailseal.cluster.kube import KubeCluster

_PAUSE: Final = 5.0
_UNAUTHORIZED: Final = 401
_SUCCESS: Final = "success"


class Poked(NamedTuple):
    """What became of it.

    Args:
        server: that was asked.
        fetched: what it fetched since; None: nothing that could be seen.
        seen: its metrics could be read.
    """

    server: str
    fetched: Fetch | None
    seen: bool


class _Seen(NamedTuple):
    """Which process answered, and what it fetched so far."""

    process: str
    fetched: frozenset[Fetch]


def poke(place: Where, server: str, issuer: str, audience: str, wait: float) -> int:
    """Make one API server fetch the issuer's key set, and say what became of it; exit code 0 if it was seen to fetch.

    A failure is said and not raised: where one API server is down, the others are to be poked all the same.
    """
    try:
        outcome = asyncio.run(_poked(place, server, issuer, audience, wait))
    except Failure as failure:
        failure.show()
        return failure.exit_code
    click.echo(f"{printable(outcome.server)}: {_said(outcome)}")
    return 0 if outcome.fetched is not None and outcome.fetched.result == _SUCCESS else FAILED


def _said(outcome: Poked) -> str:
    fetched = outcome.fetched
    if not outcome.seen:
        return "asked. Whether it fetched is not to be seen: its metrics may not be read (nonResourceURL /metrics)"
    if fetched is None:
        why = f"the set that it holds has more than {FRESH} s to live (jwks.maxAge), so go on by --wait"
        return f"did not fetch: {why}; or it does not trust this issuer and audience"
    if fetched.result != _SUCCESS:
        return "could not fetch, and holds what it held: the issuer did not answer it"
    return (
        f"instance {fetched.instance[:15]} fetched the key set. What is not in it is refused from now on; "
        f"a token that it verified in the last {REMEMBERED} s, after as many"
    )


async def _poked(place: Where, server: str, issuer: str, audience: str, wait: float) -> Poked:
    from tailseal.cluster.errors import ClusterError  # noqa: PLC0415 - slow to import
    from tailseal.cluster.kube import KubeCluster  # noqa: PLC0415

    try:
        async with KubeCluster(kubeconfig=place.kubeconfig, context=place.context, server=server) as cluster:
            return await _insist(cluster, issuer, audience, time.monotonic() + wait)
    except ClusterError as error:
        raise Failure(f"{server or 'the API server'} does not answer: {error}", exit_code=UNREACHABLE) from error


async def _insist(cluster: KubeCluster, issuer: str, audience: str, until: float) -> Poked:
    """Ask until it fetches, at least once."""
    server = (await cluster.credentials()).server
    before = await _seen(cluster, issuer)
    while True:
        # With other credentials the token would not be looked at.
        status = await cluster.status_of(token(issuer, audience, time.time(), secrets.token_bytes(RANDOM)))
        if status != _UNAUTHORIZED:
            text = f"{server} answers {status} to a token that nobody signed: it did not look at it"
            raise Failure(text, hint="name the API server itself by --server")
        after = await _seen(cluster, issuer)
        if before is None or after is None:
            return Poked(server, None, seen=False)
        if after.process != before.process:  # what it fetched long ago would be taken for new
            raise Failure(f"{server} is more than one API server", hint="name each of them by --server")
        new = max(after.fetched - before.fetched, key=lambda fetch: fetch.at, default=None)
        if (new is not None and new.result == _SUCCESS) or time.monotonic() >= until:
            return Poked(server, new, seen=True)
        await asyncio.sleep(_PAUSE)


async def _seen(cluster: KubeCluster, issuer: str) -> _Seen | None:
    """All that is known of; None where it may not be."""
    from tailseal.cluster.errors import Forbidden, NotFound  # noqa: PLC0415

    try:
        metrics = await cluster.metrics()
    except (Forbidden, NotFound):
        return None
    return _Seen(process(metrics), frozenset(fetches(metrics, issuer)))
