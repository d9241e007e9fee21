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

    __slots__ = ("_admitted", "_limits", "_marked", "actor", "asked", "token")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._admitted: tuple[str, str] | None = None
        self._marked: tuple[str, float] | None = None
        self.token: Compact | None = None
        self.actor: Compact | None = None
        self.asked: GrantRequest | None = None

    def saw(self, token: Compact, asked: GrantRequest, actor: Compact | None) -> None:
        """Keep what an explanation needs."""
        self.token, self.asked, self.actor = token, asked, actor

    def admit(self, issuer: str, policy: str) -> Refusal | None:
        """Draw for the grant, unless this request did."""
        if self._admitted is not None:
            return None
        refusal = self._limits.grant(issuer, policy)
        self._admitted = None if refusal else (issuer, policy)
        return refusal

    def mark(self, namespace: str, seconds: float) -> Refusal | None:
        """Draw for the mark that is needed next."""
        refusal = self._limits.mark(namespace, seconds)
        self._marked = None if refusal else (namespace, seconds)
        return refusal

    def affords(self, namespace: str) -> bool:
        """Whether the namespace has any of its share left."""
        return self._limits.affords(namespace)

    def pay(self, namespace: str, seconds: float) -> None:
        """Draw from the namespace's share."""
        self._limits.pay(namespace, seconds)

    def replayed(self) -> None:
        """Give back what a replay drew: who has but a used token takes nothing from those with another."""
        if self._admitted is not None and self._marked is not None:
            self._limits.withdraw(*self._admitted)
            self._limits.unmark(*self._marked)
