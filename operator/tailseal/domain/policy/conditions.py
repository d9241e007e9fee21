"""Evaluates the expressions of one request: on one set of values, and within a budget for each tenant.

The budget is kept by namespace, so that what one tenant's expressions cost is never taken from another's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final

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


def stopped() -> float:
    """A clock that stands still: no expression takes any time."""
    return 0.0


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
    """

    __slots__ = ("_claims", "_ticks", "_work")

    def __init__(self, claims: Claims, ticks: Ticks = stopped) -> None:
        self._claims = claims
        self._ticks = ticks
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
        if self._work is None:
            self._work = _Work(self._claims)
        key = (policy.id, grant.name)
        found = self._work.given.get(key)
        if found is None:
            found = self._work.given[key] = self._evaluate(policy, grant, self._work)
        return found if isinstance(found, Denial) else None

    def _evaluate(self, policy: CompiledPolicy, grant: CompiledGrant, work: _Work) -> Given | Denial:
        if policy.condition is not None:
            work.asked[policy.namespace] += 1
            if work.asked[policy.namespace] > MAX_EVALUATIONS or _is_over(policy, work):
                return _over(policy, work)
        started = self._ticks()
        try:
            outcome = _outcome(policy, grant, work)
        finally:
            work.seconds[policy.namespace] += self._ticks() - started
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
