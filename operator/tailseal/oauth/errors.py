"""Errors of the OAuth endpoints as exceptions, and what their callers are told (RFC 6749 section 5.2)."""

from __future__ import annotations

from tailseal.tokens import answers
from tailseal.tokens.answers import Response


class OAuthError(Exception):
    """A request is refused.

    Args:
        error: code of the RFC, such as `invalid_request`.
        description: one short sentence of ours; nothing of the request stands in it.
        status: HTTP status.
        reason: stable word: what programs and dashboards may rely on; left out, the code.
        basic: whether the client used HTTP Basic, so that a 401 has to name the scheme.
        retry_after: seconds after which to try again, where the status says that it may help.
    """

    def __init__(
        self,
        error: str,
        description: str,
        *,
        status: int = 400,
        reason: str = "",
        basic: bool = False,
        retry_after: int = answers.RETRY_AFTER_SECONDS,
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status
        self.reason, self.basic, self.retry_after = reason or error, basic, retry_after


def answer(error: OAuthError, decision: str) -> Response:
    """The answer as JSON, whatever was accepted.

    Args:
        error: why.
        decision: id that the audit line has, too.
    """
    refusal = answers.Refusal(error.status, error.error, error.reason, error.description, error.retry_after)
    found = answers.refused(refusal, decision=decision, text=False)
    if error.status != 401 or error.basic:  # noqa: PLR2004 - RFC 6749 section 5.2
        return found
    return found._replace(headers=[field for field in found.headers if field[0] != b"www-authenticate"])
