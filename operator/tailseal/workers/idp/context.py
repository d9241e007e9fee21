"""What the identity provider's endpoints are given beside what every worker has: who calls, and what was kept."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tailseal.state.grants import Grants
from tailseal.tailnet.resolve import CallerResolver
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.idp.room import Room

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient
    from tailseal.egress.client import Egress

FindClient = Callable[[str], Awaitable["CompiledClient | None"]]
"""The client of an id, wherever it is from; None: there is none."""


@dataclass(frozen=True, slots=True)
class IdpRuntime:
    """The ports of the identity provider's endpoints.

    Args:
        common: those of every worker: snapshot, clock, audit, metrics, limits.
        grants: where logins, codes and tokens are kept.
        callers: says who is calling; None: there is no tailnet, so nobody can log in.
        find_client: finds a client by its id.
        random: makes as many random bytes.
        egress: gives the guarded client, for what clients are told; None: nobody is told anything.
        room: what one person, or the clients of one namespace, may still leave with us.
    """

    common: Runtime
    grants: Grants
    callers: CallerResolver | None
    find_client: FindClient
    random: Callable[[int], bytes] = os.urandom
    egress: Callable[[], Awaitable[Egress]] | None = None
    room: Room = field(default_factory=Room)
