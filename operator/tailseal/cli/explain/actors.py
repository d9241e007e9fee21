"""Examines an actor token offline, as far as the keys at hand allow, for the explanation of a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.domain.policy.trust import Verified
from tailseal.tokens import keyset, refusals, verify
from tailseal.tokens.answers import Refusal
from tailseal.tokens.errors import KeySetError, TokenError
from tailseal.tokens.presented import Presented, present
from tailseal.tokens.trust import Delegate


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a token is refused whatever the policies say: a stable reason and a sentence without its content."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts for the subject.

    Args:
        found: the actor token, once for each source that may verify it; None: nobody acts.
        assumed: whether a signature was not checked.
    """

    found: Sequence[Verified] | None = None
    assumed: bool = False


def examine(token: bytes | None, index: PolicyIndex, settings: Settings, now: float) -> Acting | Problem:
    """Who acts, or why the token is refused.

    Args:
        token: as it would be sent; None: there is none.
        index: the provider's policies.
        settings: the provider's.
        now: Unix seconds.
    """
    if token is None:
        return Acting()
    try:
        delegate = Delegate(present(token.decode("latin-1"), verify.JWT))
        sources = index.actors(delegate.presented.issuer)
        if not sources:
            return _problem(refusals.denied(Denial.UNKNOWN_ACTOR_ISSUER))
        fitting, fault = _fitting(delegate.presented, sources, now)
        if not fitting and fault is not None:
            raise fault
        verify.check_claims(delegate.presented.token.payload, now=now, skew=settings.clock_skew)
        found = tuple(delegate.under(source) for source in fitting)
    except TokenError as error:
        return _problem(refusals.of_actor(error))
    return Acting(found, assumed=any(source.kind != "jwks" for source in fitting))


def _fitting(
    presented: Presented, sources: Sequence[KeySource], now: float
) -> tuple[tuple[KeySource, ...], TokenError | None]:
    """Sources whose keys are not at hand or verify the token, and what one that is has against it."""
    fitting, fault = [], None
    for source in sources:
        try:
            if source.kind == "jwks":
                verify.check_signature(presented.token, keyset.parse_jwks(source.jwks.encode()))
            if source.kind == "session":
                verify.check_session(presented.token, presented.token_type, now=now)
        except TokenError as error:
            fault = error
        except KeySetError:  # the operator says so of the policy
            continue
        else:
            fitting.append(source)
    return tuple(fitting), fault


def _problem(refusal: Refusal) -> Problem:
    return Problem(str(refusal.reason), refusal.description)
