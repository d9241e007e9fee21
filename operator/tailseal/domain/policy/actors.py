"""Who may act for whom: an actor token against the policy's `actors` and the subject token's own word (RFC 8693)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.trust import Acting, Claims, Verified, denial

MAX_ACTORS: Final = 8
"""How many parties an `act` claim may name, the present one included."""

_MAX_TEXT: Final = 512
_IDENTITY: Final = ("iss", "sub", "client_id")
_NOT_IDENTITY: Final = frozenset({"exp", "nbf", "aud", "iat", "jti"})
"""Members that mean nothing within `may_act` (RFC 8693 section 4.4)."""


class ActError(ValueError):
    """A claim `act` that cannot be carried on; the message never repeats its content."""


def entitled(
    policy: CompiledPolicy, subject: Claims, actors: Sequence[Verified], now: float, skew: float
) -> Denial | tuple[Acting, ...]:
    """Who of these may act for the subject under the policy, as far as no condition has to be asked; else why nobody.

    Args:
        policy: that trusts the subject token.
        subject: claims of the subject token.
        actors: one token, once for each source that verifies it.
        now: Unix seconds.
        skew: seconds by which an issuer's clock may differ from ours.
    """
    if not policy.actors:
        return Denial.ACTOR_NOT_ALLOWED
    meant = tuple(
        Acting(trust, actor)
        for trust in policy.actors
        for actor in actors
        if trust.source == actor.source and denial(trust, actor, now, skew) is None
    )
    if not meant:
        return Denial.ACTOR_NOT_TRUSTED
    return meant if may_act(subject, actors[0].claims) else Denial.ACTOR_NOT_NAMED


def may_act(subject: Claims, actor: Claims) -> bool:
    """Whether the subject token's `may_act`, if there is one, names the actor (RFC 8693 section 4.4).

    Every member that identifies somebody must be the actor's own; without an `iss` among them the subject token's
    issuer is meant.
    """
    named = subject.get("may_act")
    if named is None:
        return "may_act" not in subject
    if type(named) is not dict:
        return False
    wanted = {"iss": subject.get("iss")} | {name: value for name, value in named.items() if name not in _NOT_IDENTITY}
    identifies = any(name != "iss" for name in wanted)
    return identifies and all(_same(actor.get(name), value) for name, value in wanted.items())


def chain(subject: Claims, actor: Claims | None) -> dict[str, Any] | None:
    """The claim `act` of what is issued: the actor, then who acted before (RFC 8693 section 4.1); None: nobody acts.

    Args:
        subject: claims of the subject token, whose own `act` is carried on.
        actor: claims of the actor token, if there is one.

    Raises:
        ActError: an `act` is no chain of named parties, or they are too many.
    """
    if actor is None and "act" not in subject:
        return None
    parties = [*_parties({"act": actor} if actor is not None else {}), *_parties(subject)]
    if len(parties) > MAX_ACTORS:
        raise ActError(f"`act` would name more than {MAX_ACTORS} parties")
    found: dict[str, Any] = {}
    for party in reversed(parties):
        found = party | ({"act": found} if found else {})
    return found


def _parties(claims: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Who acts, the present one first; of each only what says who it is."""
    while "act" in claims:
        claims = claims["act"]
        if type(claims) is not dict:
            raise ActError("`act` is not an object")
        party = {name: claims[name] for name in _IDENTITY if name in claims}
        if "sub" not in party or not all(type(text) is str and 0 < len(text) <= _MAX_TEXT for text in party.values()):
            raise ActError("`act` does not name a party by texts of reasonable length")
        yield party


def _same(found: object, wanted: object) -> bool:
    return type(found) is type(wanted) and found == wanted
