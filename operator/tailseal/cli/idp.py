"""`tailseal idp`: the identity provider."""

from __future__ import annotations

from typing import Final

import click

from tailseal.cli import options
from tailseal.cli.workers import worker_command

_OPTIONS: Final = (
    click.option(
        "--tailnet",
        type=options.TailnetType(),
        envvar="TAILSEAL_TAILNET",
        help="Where callers of the tailnet come in: unix:PATH behind `tailscale serve`, or a port on loopback.",
    ),
    click.option(
        "--localapi",
        default="/var/run/tailscale/tailscaled.sock",
        show_default=True,
        envvar="TAILSEAL_LOCALAPI",
        help="Socket of the tailscaled that says who they are.",
    ),
    click.option(
        "--service",
        default="",
        envvar="TAILSEAL_SERVICE",
        help="Tailscale Service that they come to, such as svc:idp: then what is granted towards it counts.",
    ),
    click.option(
        "--hand-over",
        is_flag=True,
        envvar="TAILSEAL_HAND_OVER",
        help="Told to end, let callers of the tailnet in no more, at once: other replicas know their logins, too.",
    ),
)

command: Final = worker_command(
    "idp",
    "Run the identity provider: logins with the tailnet, tokens, and the token exchange.",
    "tailseal.workers.idp.app",
    _OPTIONS,
)
