"""Why an outbound request did not bring an answer: stable words, and texts without any content of request or answer."""

from __future__ import annotations

from enum import StrEnum


class EgressReason(StrEnum):
    """Stable reason words."""

    URL_REFUSED = "URLRefused"
    ADDRESS_REFUSED = "AddressRefused"
    UNRESOLVED = "HostNotFound"
    UNREACHABLE = "Unreachable"
    TLS = "TLSFailed"
    TIMEOUT = "Timeout"
    REDIRECT = "RedirectRefused"
    ENCODED = "EncodingRefused"
    TOO_LARGE = "AnswerTooLarge"


class EgressError(Exception):
    """The request was refused by us or failed on the way.

    Args:
        reason: the stable word.
        message: what and where.
    """

    def __init__(self, reason: EgressReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
