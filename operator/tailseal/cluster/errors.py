"""What can go wrong between us and the API server, as few errors as callers tell apart.

ClusterError
├── Transient    try again later: connection lost, 429, 5xx, timeout
├── Conflict     the resourceVersion or uid that was planned from is no longer current: plan again
├── Forbidden    RBAC or admission refuses us: a person must act
│   └── NoCredentials   nothing says which cluster is meant, or who we are there
├── NotFound     the kind, namespace or object is not there
├── Invalid      the API server refuses the object itself (400, 422)
└── Gone         a list or watch position has expired
"""

from __future__ import annotations


class ClusterError(Exception):
    """Root of all answers of the API server that are not the one asked for.

    Args:
        message: what the API server said, without any object's content.
        retry_after: seconds the server asked us to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Transient(ClusterError):  # noqa: N818 - a name of the field, read as "ClusterError: Transient"
    """The request may succeed if repeated."""


class Conflict(ClusterError):  # noqa: N818
    """Somebody else wrote first."""


class Forbidden(ClusterError):  # noqa: N818
    """We are not allowed to."""


class NoCredentials(Forbidden):
    """No kubeconfig, or no context of that name in it, says which cluster is meant and who we are there."""


class NotFound(ClusterError):  # noqa: N818
    """There is no such thing."""


class Invalid(ClusterError):  # noqa: N818
    """The object is not acceptable."""


class Gone(ClusterError):  # noqa: N818
    """The position in a list or watch is too old."""
