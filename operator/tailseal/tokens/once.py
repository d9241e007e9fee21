"""What may count once: marks that stand for a token or a proof, and the need to take them before anything is given.

A mark is taken after the decision and before anything is signed or asked upstream, and never given back. If what comes
after fails, the token is used up: whether an upstream gave something cannot always be known, and a second grant for
one token would be the worse fault. Callers get themselves another token for another attempt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.source import KeySource
from tailseal.domain.policy.trust import is_named
from tailseal.tokens.answers import Refusal
from tailseal.tokens.compact import Compact
from tailseal.tokens.outcomes import Audit, Call

MARGIN: Final = 600
"""Seconds that a mark is kept beyond its token's expiry: the most by which a provider may let clocks differ.

It does not depend on settings or policies, so none of their changes lets a token count again.
"""

TOKEN_REPLAYED: Final = Refusal(
    400, "invalid_request", "TokenReplayed", "the subject token was used before, and the policy takes it once only"
)

ACTOR_REPLAYED: Final = Refusal(
    400, "invalid_request", "ActorTokenReplayed", "the actor token was used before, and the policy takes it once only"
)

PROOF_REPLAYED: Final = Refusal(400, "invalid_dpop_proof", "ProofReplayed", "the proof of possession was used before")


class OnceKey(NamedTuple):
    """A mark: SHA-256 of what counts once, and the Unix seconds after which it is of no use anyway."""

    digest: bytes
    expires_at: float


@dataclass(frozen=True, slots=True)
class NeedOnce:
    """Take these marks, all or none, then step again with the call that `taken` gives; else answer `replayed`.

    Args:
        keys: marks to take.
        call: the request.
        audit: fields gathered so far.
        replayed: the refusal, if somebody took any of them before.
    """

    keys: tuple[OnceKey, ...]
    call: Call = field(repr=False)
    audit: Audit
    replayed: Refusal

    @property
    def taken(self) -> Call:
        """The request, whose marks are its own now."""
        return self.call._replace(taken=self.call.taken | {key.digest for key in self.keys})


def once_key(settings: Settings, purpose: str, *parts: str, until: float) -> OnceKey:
    """A mark of this provider's own: those of several that share a database do not meet.

    Args:
        settings: of the provider.
        purpose: what the parts are, e.g. `jti`.
        parts: what makes it the only one of its kind.
        until: Unix seconds after which nobody would accept it anyway, by a clock that is right.
    """
    return OnceKey(sha256(json.dumps([settings.issuer, purpose, *parts]).encode()).digest(), until + MARGIN)


def token_key(settings: Settings, source: KeySource, token: Compact) -> OnceKey:
    """The mark of a verified token, be it of a subject or of an actor.

    It stands for `jti` where the token has one, else for what was signed: the signature itself may have several forms.
    The key source is part of it, so nobody with keys of his own uses up what another's issuer gives.
    """
    payload: dict[str, Any] = token.payload
    what = ("jti", payload["jti"]) if is_named(payload) else ("token", sha256(token.signing_input).hexdigest())
    place = (source.issuer, source.kind, source.location, source.ca_digest)
    return once_key(settings, what[0], *place, what[1], until=payload["exp"])


def proof_key(settings: Settings, jkt: str, jti: str, expires_at: float) -> OnceKey:
    """The mark of a proof of possession (RFC 9449 section 11.1); ids of different keys do not meet."""
    return once_key(settings, "dpop", jkt, jti, until=expires_at)


def missing(key: OnceKey, replayed: Refusal, call: Call, audit: Audit) -> NeedOnce | None:
    """The need to take a mark; None where this request has taken it."""
    return None if key.digest in call.taken else NeedOnce((key,), call, audit, replayed)
