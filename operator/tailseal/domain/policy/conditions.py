"""Evaluates the expressions of one request: on one set of values, and within a budget for each tenant.

The budget is kept by namespace, so that what one tenant's expressions cost is never taken from another's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from tailseal.domain.policy.cel import EvaluationError, Program, Values
from tailseal.domain.policy.compiled import Claims, CompiledGrant, CompiledPolicy, Given
from tailseal.domain.policy.denial import Denial

MAX_EVALUATIONS: Final = 8
"""Conditions of one namespace that a request may cost."""

MAX_SECONDS: Final = 0.005
"""Time that the expressions of one namespace may take in a request."""

MAX_SUBJECT: Final = 255
"""Characters of a `sub` (OpenID Connect Core section 2)."""

Ticks = Callable[[], float]
"""Seconds that this thread has worked, from any start: a busy machine is no policy's fault."""

_NOTHING: Final = Given()

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

    __slots__ = ("_claims", "_values", "asked", "exhausted", "given", "seconds")

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._values: Values | None = None
        self.asked: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
        self.given: dict[tuple[str, str], Given | Denial] = {}
        self.exhausted: set[str] = set()

    def ask(self, program: Program) -> bool | str:
        """The value of an expression; carrying the claims over is a part of what the first one takes."""
        if self._values is None:
            self._values = Values(self._claims)
        return program.evaluate(self._values)


class Conditions:
    """The expressions of one request.

    Args:
        claims: of the subject token.
        ticks: measures what an evaluation takes.
        purse: what namespaces may take in all.
    """

    __slots__ = ("_claims", "_purse", "_ticks", "_work")

    def __init__(self, claims: Claims, ticks: Ticks = stopped, purse: Purse = _BOTTOMLESS) -> None:
        self._claims = claims
        self._ticks = ticks
        self._purse = purse
        self._work: _Work | None = None

    @property
    def exhausted(self) -> tuple[str, ...]:
        """Namespaces of policies that were refused because their budget was used up."""
        return () if self._work is None else tuple(sorted(self._work.exhausted))

    def given(self, policy: CompiledPolicy, grant: CompiledGrant) -> Given:
        """What the templates of a grant gave that `denial` let pass."""
        if self._work is None:
            return _NOTHING
        found = self._work.given.get((policy.id, grant.name), _NOTHING)
        return found if isinstance(found, Given) else _NOTHING

    def denial(self, policy: CompiledPolicy, grant: CompiledGrant) -> Denial | None:
        """Why the policy, of which everything else holds, does not give the grant; each is evaluated once."""
        if policy.condition is None and grant.subject is None and not grant.claims:
            return None
        work, key = self._working(), (policy.id, grant.name)
        found = work.given.get(key)
        if found is None:
            found = work.given[key] = self._evaluate(policy, grant, work)
        return found if isinstance(found, Denial) else None

    def weighed(self, policy: CompiledPolicy, ask: Callable[[], Denial | None]) -> Denial | None:
        """What rules say that may take long, which is no less an expense than an expression is.

        Args:
            policy: whose rules.
            ask: evaluates them.
        """
        work = self._working()
        if _is_over(policy, work) or not self._purse.affords(policy.namespace):
            return _over(policy, work)
        return self._timed(policy, work, ask)

    def _working(self) -> _Work:
        if self._work is None:
            self._work = _Work(self._claims)
        return self._work

    def _timed(self, policy: CompiledPolicy, work: _Work, ask: Callable[[], _Found]) -> _Found:
        started = self._ticks()
        try:
            return ask()
        finally:
            taken = self._ticks() - started
            work.seconds[policy.namespace] += taken
            self._purse.pay(policy.namespace, taken)

    def _evaluate(self, policy: CompiledPolicy, grant: CompiledGrant, work: _Work) -> Given | Denial:
        if policy.condition is not None:
            work.asked[policy.namespace] += 1
            if work.asked[policy.namespace] > MAX_EVALUATIONS or _is_over(policy, work):
                return _over(policy, work)
        if not self._purse.affords(policy.namespace):
            return _over(policy, work)
        outcome = self._timed(policy, work, partial(_outcome, policy, grant, work))
        return _over(policy, work) if _is_over(policy, work) else outcome


def _outcome(policy: CompiledPolicy, grant: CompiledGrant, work: _Work) -> Given | Denial:
    try:
        if policy.condition is not None and work.ask(policy.condition) is not True:
            return Denial.CONDITION_FALSE
    except EvaluationError:
        return Denial.CONDITION_ERROR
    try:
        claims = tuple((name, str(work.ask(program))) for name, program in grant.claims)
        return Given(_subject(policy, grant, work), claims)
    except EvaluationError:
        return Denial.CLAIM_ERROR


def _subject(policy: CompiledPolicy, grant: CompiledGrant, work: _Work) -> str:
    if grant.subject is None:
        return ""
    name = str(work.ask(grant.subject))
    subject = f"{grant.subject_prefix or f'policy:{policy.id}:'}{name}"
    if not name or len(subject) > MAX_SUBJECT or not (subject.isascii() and subject.isprintable()):
        raise EvaluationError("no subject")
    return subject


def _is_over(policy: CompiledPolicy, work: _Work) -> bool:
    return work.seconds[policy.namespace] > MAX_SECONDS


def _over(policy: CompiledPolicy, work: _Work) -> Denial:
    work.exhausted.add(policy.namespace)
    return Denial.CONDITION_BUDGET
