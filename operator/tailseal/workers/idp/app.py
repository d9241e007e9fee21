"""The identity provider as an ASGI application: logins, tokens, the pages of people, and the token exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import Route

from tailseal.oauth import metadata
from tailseal.oauth.metadata import Offered
from tailseal.tailnet.resolve import CallerResolver
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http import wellknown
from tailseal.workers.common.http.application import application
from tailseal.workers.idp import authorize, issue, others, userinfo
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.known import KnownClients
from tailseal.workers.idp.token import Token

if TYPE_CHECKING:
    from tailseal.workers.common.worker import Worker


def build(runtime: IdpRuntime) -> Starlette:
    """The application.

    Args:
        runtime: its ports.
    """
    return application(routes(runtime))


def of_worker(worker: Worker, callers: CallerResolver | None = None) -> Starlette:
    """The application of a worker.

    Args:
        worker: whose ports it gets.
        callers: says who is calling; None: there is no tailnet, so nobody can log in.
    """
    return build(ports(worker, callers))


def ports(worker: Worker, callers: CallerResolver | None) -> IdpRuntime:
    """What the endpoints are given; the arguments are those of `of_worker`."""
    current = worker.runtime.current
    find = KnownClients(current, worker.state, worker.egress)
    return IdpRuntime(worker.runtime, worker.state, callers, find, egress=worker.egress)


def routes(runtime: IdpRuntime) -> list[Route]:
    """All endpoints, busiest first; each says itself which methods it answers to.

    Args:
        runtime: their ports.
    """

    def document(snapshot: Snapshot) -> dict[str, Any]:
        return metadata.document(_offered(snapshot, logins=runtime.callers is not None))

    return [
        Route("/token", Token(runtime)),
        Route("/userinfo", userinfo.endpoint(runtime)),
        Route("/authorize", authorize.endpoint(runtime)),
        Route(authorize.CONFIRM, authorize.confirmation(runtime)),
        *wellknown.routes(runtime.common, openid=document, oauth=document),
        *others.routes(runtime),
        *issue.routes(runtime),
    ]


def _offered(snapshot: Snapshot, *, logins: bool) -> Offered:
    introductions = snapshot.settings.introductions
    return Offered(
        issuer=snapshot.settings.issuer,
        algorithms={key["alg"] for key in snapshot.signing.model.jwks["keys"] if "alg" in key},
        logins=logins,
        registers=logins and introductions.dynamic,
        introduces=logins and bool(introductions.metadata_hosts),
    )
