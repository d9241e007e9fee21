"""Evaluates the expressions of one request: on one set of values, and within a budget for each tenant.

The budget is kept by namespace, so that what one tenant's expressions cost is never taken from another's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from tailseal.domain.policy.compiled import CompiledGrant, CompiledPolicy, Given
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.expressions.cel import EvaluationError, Program, Result, Values
from tailseal.domain.policy.source import KeySource
from tailseal.domain.policy.trust import Acting, Claims, Trust

MAX_EVALUATIONS: Final = 8
"""Conditions of one namespace that a request may cost."""

MAX_SECONDS: Final = 0.005
"""Time that the expressions of one namespace may take in a request."""

MAX_SUBJECT: Final = 255
"""Characters of a `sub` (OpenID Connect Core section 2)."""

Ticks = Callable[[], float]
"""Seconds that this thread has worked, from any start: a busy machine is no policy's fault."""

NOTHING: Final = Given()

_Found = TypeVar("_Found")


def stopped() -> float:
    """A clock that stands still: no expression takes any time."""
    return 0.0


class Purse(Protocol):
    """What expressions of a namespace may take over many requests: a budget for each would still add up."""

    def affords(self, namespace: str) -> bool:
        """Whether anything is left."""
        ...

    def pay(self, namespace: str, seconds: float) -> None:
        """Take note of what one evaluation took."""
        ...


class Bottomless:
    """A purse for those who decide for themselves alone."""

    def affords(self, namespace: str) -> bool:  # noqa: ARG002 - the protocol's
        """See `Purse`."""
        return True

    def pay(self, namespace: str, seconds: float) -> None:
        """See `Purse`."""


_BOTTOMLESS: Final = Bottomless()


class _Work:
    """What evaluating has come to: made for the first expression, since most requests meet none."""

    __slots__ = ("_values", "asked", "given", "seconds")

    def __init__(self) -> None:
        self._values: dict[int, Values] = {}
        self.asked: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
        self.given: dict[tuple[object, ...], Given | Denial] = {}

    def ask(self, program: Program, claims: Claims) -> Result:
        """The value of an expression; carrying the claims over is a part of what the first one takes."""
        values = self._values.get(id(claims))
        if values is None:
            values = self._values[id(claims)] = Values(claims)
        return program.evaluate(values)


class Conditions:
    """The expressions of one request.

    Args:
        claims: of the subject token.
        ticks: measures what an evaluation takes.
        purse: what namespaces may take in all.
    """

    __slots__ = ("_claims", "_purse", "_ticks", "_work", "assumed", "exhausted")

    def __init__(self, claims: Claims, ticks: Ticks = stopped, purse: Purse = _BOTTOMLESS) -> None:
        self._claims = claims
        self._ticks = ticks
        self._purse = purse
        self._work: _Work | None = None
        self.exhausted: tuple[str, ...] = ()
        """Namespaces of policies that were refused because their budget was used up."""
        self.assumed: frozenset[KeySource] = frozenset()
        """Sources that have not verified their actor token yet: no condition is asked about what it says."""

    def given(self, policy: CompiledPolicy, grant: CompiledGrant, acting: tuple[Acting, ...] = ()) -> Given | Denial:
        """What the policy, of which everything else holds, gives with the grant, or why not; each is evaluated once.

        Args:
            policy: that trusts the token.
            grant: that it chose.
            acting: who may act, as far as no condition was asked; empty: there is no actor token.
        """
        if not _asks(policy, grant, acting):
            return Given(acting=acting[0]) if acting else NOTHING
        work, key = self._working(), (policy.id, grant.name, *(one.token.source for one in acting))
        found = work.given.get(key)
        if found is None:
            found = work.given[key] = self._evaluate(policy, grant, acting, work)
        return found

    def weighed(self, policy: CompiledPolicy, ask: Callable[[], _Found]) -> _Found | Denial:
        """What rules say that may take long, which is no less an expense than an expression is.

        Args:
            policy: whose rules.
            ask: evaluates them.
        """
        work = self._working()
        if _is_over(policy, work) or not self._purse.affords(policy.namespace):
            return self._over(policy)
        return self._timed(policy, work, ask)

    def _working(self) -> _Work:
        if self._work is None:
            self._work = _Work()
        return self._work

    def _timed(self, policy: CompiledPolicy, work: _Work, ask: Callable[[], _Found]) -> _Found:
        started = self._ticks()
        try:
            return ask()
        finally:
            taken = self._ticks() - started
            work.seconds[policy.namespace] += taken
            self._purse.pay(policy.namespace, taken)

    def _evaluate(
        self, policy: CompiledPolicy, grant: CompiledGrant, acting: tuple[Acting, ...], work: _Work
    ) -> Given | Denial:
        conditions = sum(trust.condition is not None for trust in (policy.trust, *(one.trust for one in acting)))
        if conditions:
            work.asked[policy.namespace] += conditions
            if work.asked[policy.namespace] > MAX_EVALUATIONS or _is_over(policy, work):
                return self._over(policy)
        if not self._purse.affords(policy.namespace):
            return self._over(policy)
        ask = partial(_outcome, policy, grant, acting, work, self._claims, self.assumed)
        outcome = self._timed(policy, work, ask)
        return self._over(policy) if _is_over(policy, work) else outcome

    def _over(self, policy: CompiledPolicy) -> Denial:
        self.exhausted = tuple(sorted({*self.exhausted, policy.namespace}))
        return Denial.CONDITION_BUDGET


def _asks(policy: CompiledPolicy, grant: CompiledGrant, acting: tuple[Acting, ...]) -> bool:
    """Whether there is any expression to evaluate."""
    if policy.trust.condition is not None or grant.claims or grant.subject is not None:
        return True
    return any(one.trust.condition is not None for one in acting)


def _outcome(
    policy: CompiledPolicy,
    grant: CompiledGrant,
    acting: tuple[Acting, ...],
    work: _Work,
    claims: Claims,
    assumed: frozenset[KeySource],
) -> Given | Denial:
    if refused := refusal(policy.trust, partial(work.ask, claims=claims)):
        return refused
    meant = (
        one
        for one in acting
        if one.token.source in assumed or refusal(one.trust, partial(work.ask, claims=one.token.claims)) is None
    )
    actor = next(meant, None)
    if acting and actor is None:
        return Denial.ACTOR_NOT_TRUSTED
    try:
        templates = tuple((name, work.ask(program, claims)) for name, program in grant.claims)
        return Given(_subject(policy, grant, work, claims), templates, actor)
    except EvaluationError:
        return Denial.CLAIM_ERROR


def refusal(trust: Trust, ask: Callable[[Program], Result]) -> Denial | None:
    """What the condition has against a token that the trust means otherwise.

    Args:
        trust: whose tokens are meant.
        ask: evaluates an expression on the token's claims.
    """
    try:
        return None if trust.condition is None or ask(trust.condition) is True else Denial.CONDITION_FALSE
    except EvaluationError:
        return Denial.CONDITION_ERROR


def _subject(policy: CompiledPolicy, grant: CompiledGrant, work: _Work, claims: Claims) -> str:
    if grant.subject is None:
        return ""
    name = str(work.ask(grant.subject, claims))
    subject = f"{grant.subject_prefix or f'policy:{policy.id}:'}{name}"
    if not name or len(subject) > MAX_SUBJECT or not (subject.isascii() and subject.isprintable()):
        raise EvaluationError("no subject")
    return subject


def _is_over(policy: CompiledPolicy, work: _Work) -> bool:
    return work.seconds[policy.namespace] > MAX_SECONDS
