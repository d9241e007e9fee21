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


class Conditions:
    """The expressions of one request.

    Args:
        claims: of the subject token.
        ticks: measures what an evaluation takes.
    """

    __slots__ = ("_asked", "_claims", "_given", "_seconds", "_ticks", "_values", "exhausted")

    def __init__(self, claims: Claims, ticks: Ticks = stopped) -> None:
        self._claims = claims
        self._ticks = ticks
        self._values: Values | None = None
        self._asked: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = defaultdict(float)
        self._given: dict[tuple[str, str], Given | Denial] = {}
        self.exhausted: set[str] = set()
        """Namespaces of policies that were refused because their budget was used up."""

    def given(self, policy: CompiledPolicy, grant: CompiledGrant) -> Given:
        """What the templates of a grant gave that `denial` let pass."""
        found = self._given.get((policy.id, grant.name), _NOTHING)
        return found if isinstance(found, Given) else _NOTHING

    def denial(self, policy: CompiledPolicy, grant: CompiledGrant) -> Denial | None:
        """Why the policy, of which everything else holds, does not give the grant; each is evaluated once."""
        if policy.condition is None and grant.subject is None and not grant.claims:
            return None
        key = (policy.id, grant.name)
        found = self._given.get(key)
        if found is None:
            found = self._given[key] = self._evaluate(policy, grant)
        return found if isinstance(found, Denial) else None

    def _evaluate(self, policy: CompiledPolicy, grant: CompiledGrant) -> Given | Denial:
        if policy.condition is not None:
            self._asked[policy.namespace] += 1
            if self._asked[policy.namespace] > MAX_EVALUATIONS or self._is_over(policy):
                return self._over(policy)
        started = self._ticks()
        try:
            outcome = self._outcome(policy, grant)
        finally:
            self._seconds[policy.namespace] += self._ticks() - started
        return self._over(policy) if self._is_over(policy) else outcome

    def _outcome(self, policy: CompiledPolicy, grant: CompiledGrant) -> Given | Denial:
        try:
            if policy.condition is not None and self._ask(policy.condition) is not True:
                return Denial.CONDITION_FALSE
        except EvaluationError:
            return Denial.CONDITION_ERROR
        try:
            claims = tuple((name, str(self._ask(program))) for name, program in grant.claims)
            return Given(self._subject(policy, grant), claims)
        except EvaluationError:
            return Denial.CLAIM_ERROR

    def _subject(self, policy: CompiledPolicy, grant: CompiledGrant) -> str:
        if grant.subject is None:
            return ""
        name = str(self._ask(grant.subject))
        subject = f"{grant.subject_prefix or f'policy:{policy.id}:'}{name}"
        if not name or len(subject) > MAX_SUBJECT or not (subject.isascii() and subject.isprintable()):
            raise EvaluationError("no subject")
        return subject

    def _ask(self, program: Program) -> bool | str:
        if self._values is None:
            self._values = Values(self._claims)
        return program.evaluate(self._values)

    def _is_over(self, policy: CompiledPolicy) -> bool:
        return self._seconds[policy.namespace] > MAX_SECONDS

    def _over(self, policy: CompiledPolicy) -> Denial:
        self.exhausted.add(policy.namespace)
        return Denial.CONDITION_BUDGET
