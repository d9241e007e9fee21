"""`tailseal idp`: the identity provider."""

from __future__ import annotations

from typing import Final

from tailseal.cli.workers import worker_command

command: Final = worker_command(
    "idp",
    "Run the identity provider: logins with the tailnet, tokens, and the token exchange.",
    "tailseal.workers.idp.app",
)
