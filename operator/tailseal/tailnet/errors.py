"""Why there is no caller: nobody that the tailnet knows, or no answer to the question. The two are never confused."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a request comes from nobody: stable words."""

    OUTSIDE = "NotFromTailnet"
    """The connection does not come from a node."""
    FUNNEL = "Funnel"
    """It comes from the public internet."""
    FORWARDED = "ForwardedForMalformed"
    """What serve wrote is not one tailnet address."""
    UNKNOWN = "CallerUnknown"
    """No node that we may know has the address."""
    EXPIRED = "NodeExpired"
    """The node has to log in again; Tailscale goes on answering for it, capabilities included."""
    CHANGED = "CallerChanged"
    """The address belongs to another node or another person by now."""


class Outage(StrEnum):
    """Why nobody can say who it is: stable words."""

    UNREACHABLE = "TailscaledUnreachable"
    """Nothing answers at the socket, or it stops in the middle."""
    SLOW = "TailscaledSlow"
    """No answer in time."""
    NOT_RUNNING = "TailscaledNotRunning"
    """Our own node is not in the tailnet, or not yet: what it says of others means nothing."""
    MALFORMED = "TailscaledAnswerMalformed"
    """The answer cannot be understood, or is too long."""
    REFUSED = "TailscaledRefuses"
    """It answers with an error."""


class NobodyError(Exception):
    """The request is answered as from nobody: 401.

    Args:
        reason: the stable word.
    """

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


class UnavailableError(Exception):
    """The request is answered 503: whoever it is, they may try again.

    Args:
        reason: the stable word.
        detail: for the log: nothing that a caller sent or that an answer held.
    """

    def __init__(self, reason: Outage, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason = reason
