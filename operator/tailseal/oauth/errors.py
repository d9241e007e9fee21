"""Errors of the OAuth endpoints as exceptions, and what their callers are told (RFC 6749 section 5.2)."""

from __future__ import annotations

from tailseal.tokens import answers
from tailseal.tokens.answers import Refusal, Response


class OAuthError(Exception):
    """A request is refused.

    Args:
        error: code of the RFC, such as `invalid_request`.
        description: one short sentence of ours; nothing of the request stands in it.
        status: HTTP status.
        reason: stable word: what programs and dashboards may rely on; left out, the code.
        basic: whether the client used HTTP Basic, so that a 401 has to name the scheme.
        retry_after: seconds after which to try again, where the status says that it may help.
        nonce: for the caller's next proof of possession (RFC 9449 section 8); empty: none is needed.
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
        nonce: str = "",
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status
        self.reason, self.basic, self.retry_after = reason or error, basic, retry_after
        self.nonce = nonce

    @property
    def refusal(self) -> Refusal:
        """As an exchange is refused."""
        return Refusal(self.status, self.error, self.reason, self.description, self.retry_after)


def of(refusal: Refusal) -> OAuthError:
    """What an exchange would be refused for."""
    status, error, reason, description, retry_after = refusal
    return OAuthError(error, description, status=status, reason=reason, retry_after=retry_after)


def limited(wait: float, description: str, reason: str) -> OAuthError:
    """The answer to who is too fast.

    Args:
        wait: seconds until there is room again.
        description: what there was too much of.
        reason: stable word.
    """
    return of(Refusal(429, "temporarily_unavailable", reason, description, int(wait) + 1))


def unavailable(reason: str) -> OAuthError:
    """The answer where nothing can be decided now.

    Args:
        reason: stable word.
    """
    return OAuthError("temporarily_unavailable", "this cannot be decided now: try again", status=503, reason=reason)


def answer(error: OAuthError, decision: str) -> Response:
    """The answer as JSON, whatever was accepted.

    Args:
        error: why.
        decision: id that the audit line has, too.
    """
    extra = ((b"dpop-nonce", error.nonce.encode()),) if error.nonce else ()
    found = answers.refused(error.refusal, decision=decision, text=False, extra=extra)
    if error.status != 401 or error.basic:  # noqa: PLR2004 - RFC 6749 section 5.2
        return found
    return found._replace(headers=[field for field in found.headers if field[0] != b"www-authenticate"])
