"""Why an upstream gave no token: stable words for callers, metrics and audit lines; never what the upstream said."""

from __future__ import annotations

from enum import StrEnum


class UpstreamReason(StrEnum):
    """Stable reason words."""

    SCOPE_REFUSED = "UpstreamScopeRefused"
    """Our client may not grant a requested scope or tag."""
    CREDENTIAL_REFUSED = "UpstreamCredentialRefused"
    """The upstream does not know our client id and secret."""
    CREDENTIAL_MISSING = "UpstreamCredentialMissing"
    """The credential has not reached this replica."""
    UNKNOWN = "UpstreamUnknown"
    """Settings name no such upstream."""
    REJECTED = "UpstreamRejected"
    """It does not understand the request: its API is another than its configuration says."""
    UNAVAILABLE = "UpstreamUnavailable"
    """Not reachable, overloaded, or at fault."""
    RESTING = "UpstreamResting"
    """It was down several times in a row: it is not asked for a while."""
    MALFORMED = "UpstreamMalformed"
    """The answer is not the one of RFC 6749 section 5.1."""
    WIDER = "UpstreamWider"
    """The token would grant more than was asked for; it is thrown away."""


_NOT_RETRYABLE = frozenset({UpstreamReason.SCOPE_REFUSED})


class UpstreamError(Exception):
    """No token.

    Args:
        reason: the stable word.
        message: for the log of the platform; nothing of request or answer.
        retry_after: seconds that the upstream asked for, if it did.
        outage: whether every request would fare the same now; None: the upstream was not asked.
    """

    def __init__(
        self, reason: UpstreamReason, message: str, *, retry_after: int | None = None, outage: bool | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        self.outage = outage

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later: 503 `temporarily_unavailable`, else 400 `invalid_scope`."""
        return self.reason not in _NOT_RETRYABLE
