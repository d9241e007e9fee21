"""`tailseal sts`: the token service."""

from __future__ import annotations

from typing import Final

from tailseal.cli.workers import worker_command

command: Final = worker_command(
    "sts",
    "Run the token service: exchange foreign tokens for ours or an upstream's, as the bundle's policies allow.",
    "tailseal.workers.sts.app",
)
