"""Who is calling over the tailnet, asked of the tailscaled beside us, by rules that nobody else's word can bend."""

from __future__ import annotations

from tailseal.tailnet.errors import NobodyError, Outage, Refusal, UnavailableError
from tailseal.tailnet.localapi import LocalApi
from tailseal.tailnet.resolve import CallerResolver, Direct, Elsewhere, Serve
from tailseal.tailnet.static import Static

__all__ = [
    "CallerResolver",
    "Direct",
    "Elsewhere",
    "LocalApi",
    "NobodyError",
    "Outage",
    "Refusal",
    "Serve",
    "Static",
    "UnavailableError",
]
