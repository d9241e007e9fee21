"""One request's turn at the exchange core: what it draws from the limits, and what was seen of its token."""

from __future__ import annotations

from tailseal.domain.policy.grants import GrantRequest
from tailseal.tokens.answers import Refusal
from tailseal.tokens.compact import Compact
from tailseal.workers.common.limits.exchange import Limits


class Turn:
    """Watches one request, which may take several steps; see `outcomes.Watch`.

    Args:
        limits: drawn from once, whatever the steps.
    """

    __slots__ = ("_admitted", "_limits", "asked", "token")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._admitted = False
        self.token: Compact | None = None
        self.asked: GrantRequest | None = None

    def saw(self, token: Compact, asked: GrantRequest) -> None:
        """Keep what an explanation needs."""
        self.token, self.asked = token, asked

    def admit(self, issuer: str, policy: str) -> Refusal | None:
        """Draw for the grant, unless this request did."""
        if self._admitted:
            return None
        refusal = self._limits.grant(issuer, policy)
        self._admitted = refusal is None
        return refusal
