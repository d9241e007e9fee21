"""The routes beside login, tokens and discovery: what clients ask of us, and what people see and take back."""

from __future__ import annotations

from starlette.routing import Route

from tailseal.workers.idp import clients, device, introspect, logout, me, par, register, revoke
from tailseal.workers.idp.backchannel import Backchannel
from tailseal.workers.idp.context import IdpRuntime


def routes(runtime: IdpRuntime) -> list[Route]:
    """All of them; each endpoint says itself which methods it answers to.

    Args:
        runtime: their ports.
    """
    backchannel = Backchannel(runtime)
    listed = clients.endpoint(runtime)
    return [
        Route("/introspect", introspect.endpoint(runtime)),
        Route("/revoke", revoke.endpoint(runtime)),
        Route("/par", par.endpoint(runtime)),
        Route("/device_authorization", device.authorization(runtime)),
        Route("/device", device.page(runtime)),
        Route("/register", register.endpoint(runtime)),
        Route("/register/{client_id}", register.management(runtime)),
        Route("/clients/", listed),
        Route("/clients/{client_id:path}", listed),
        Route("/logout", logout.endpoint(runtime, backchannel)),
        Route(logout.CONFIRM, logout.confirmation(runtime, backchannel)),
        Route(me.END, me.ending(runtime, backchannel)),
        Route("/", me.endpoint(runtime)),
    ]
