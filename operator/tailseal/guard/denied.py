"""What those are told who are not let in, in the words of tscap: `error` and `message`, and a stable reason beside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from tailseal.tailnet import Outage, Refusal

RETRY_AFTER: Final = 1
"""Seconds: tailscaled is back in less, or not for long."""

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Denied:
    """The answer no.

    Args:
        status: 401: nobody; 403: not allowed; 503: nobody can say.
        error: of the body.
        message: of the body.
        reason: the stable word.
    """

    status: int
    error: str
    message: str
    reason: str

    @property
    def is_nobody(self) -> bool:
        """Whether it only says that the tailnet does not know who it is."""
        return self.status == _UNAUTHENTICATED and self.reason != BAD_HEADER.reason

    @property
    def body(self) -> bytes:
        """JSON."""
        return json.dumps({"error": self.error, "message": self.message, "reason": self.reason}).encode()

    @property
    def headers(self) -> tuple[Header, ...]:
        """Of the answer, in lower case."""
        always = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
        return (*always, (b"retry-after", b"%d" % RETRY_AFTER)) if self.status == _UNAVAILABLE else always


_UNAUTHENTICATED, _UNAUTHORIZED, _UNAVAILABLE = 401, 403, 503

NO_HEADER: Final = Denied(_UNAUTHENTICATED, "unauthenticated", "missing capabilities header", "CapabilitiesMissing")
"""Serve passes on no capabilities: nothing is granted towards this node, or serve was not told which ones."""
BAD_HEADER: Final = Denied(_UNAUTHENTICATED, "unauthenticated", "invalid capabilities header", "CapabilitiesMalformed")
"""What serve passes on cannot be read."""
NO_CAPABILITY: Final = Denied(_UNAUTHORIZED, "unauthorized", "missing required capability", "CapabilityMissing")
"""Nothing at all is granted of the capability."""
NO_PERMISSION: Final = Denied(_UNAUTHORIZED, "unauthorized", "insufficient permissions", "PermissionMissing")
"""No single grant of the capability covers the action and all resources."""
NO_RULE: Final = Denied(_UNAUTHORIZED, "unauthorized", "insufficient permissions", "NoRuleMatches")
"""No rule is about the request."""
AMBIGUOUS: Final = Denied(_UNAUTHORIZED, "unauthorized", "the path can be read in several ways", "PathAmbiguous")
"""Servers differ in what the path means, so nobody can say what is asked for."""
NO_REQUEST: Final = Denied(_UNAUTHORIZED, "unauthorized", "the proxy does not say what is asked for", "RequestMissing")
"""The proxy is not set up as it has to be."""


def nobody(reason: Refusal) -> Denied:
    """The tailnet does not know who it is."""
    return Denied(_UNAUTHENTICATED, "unauthenticated", "the tailnet does not know the caller", reason.value)


def unavailable(reason: Outage) -> Denied:
    """Nobody can say who it is."""
    return Denied(_UNAVAILABLE, "unavailable", "nobody can say who is calling: try again", reason.value)
