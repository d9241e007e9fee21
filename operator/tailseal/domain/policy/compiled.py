"""What a TrustPolicy is once compiled: plain values and closures that a decision runs through."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.expressions.cel import Program, Result
from tailseal.domain.policy.matchers import REGEX, Path
from tailseal.domain.policy.trust import Acting, Trust


class GrantKind(StrEnum):
    """What a grant gives; the values are the members of a grant in the manifest."""

    JWT = "jwt"
    TAILSCALE = "tailscale"
    TAILSCALE_AUTH_KEY = "tailscaleAuthKey"


@dataclass(frozen=True, slots=True)
class CompiledGrant:
    """One grant of a policy.

    Args:
        name: unique within the policy.
        kind: what it gives.
        targets: what `audience` and `resource` of a request may name: audiences of a JWT, API URL of an upstream.
        audiences: audiences of the minted JWT, in the policy's order; empty for other kinds.
        scopes: the most that may be asked for, in the policy's order.
        tags: likewise, for what an upstream gives.
        ttl: lifetime of the minted JWT in seconds; 0 where the upstream decides.
        upstream: name of the upstream, empty for a JWT.
        require_dpop: whether the minted JWT is bound to a key that the caller must prove (RFC 9449).
        fixed: whether the upstream gives all scopes and tags or none, so that a request cannot narrow them.
        ephemeral: whether a node that joins with the key goes when it is offline.
        expiry: seconds in which the key can be used; 0 where the grant is of another kind.
        claims: what the minted JWT carries beside the usual claims: name, and the expression that gives it.
        subject: gives what follows the prefix in `sub`; None: `sub` is the policy's own.
        subject_prefix: what `sub` begins with; empty: the policy's own.
    """

    name: str
    kind: GrantKind
    targets: frozenset[str]
    audiences: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    ttl: int = 0
    upstream: str = ""
    claims: tuple[tuple[str, Program], ...] = ()
    subject: Program | None = None
    subject_prefix: str = ""
    require_dpop: bool = False
    fixed: bool = False
    ephemeral: bool = False
    expiry: int = 0


class Given(NamedTuple):
    """What the expressions of a grant gave for one token.

    Args:
        subject: the whole `sub` of the JWT to mint; empty: the policy's own.
        claims: names and values of the claims that it carries beside the usual ones.
        acting: who acts for the subject, and by which entry of `actors`; None: nobody does.
    """

    subject: str = ""
    claims: tuple[tuple[str, Result], ...] = ()
    acting: Acting | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CompiledPolicy:
    """A policy that may be decided on: its spec is valid and within the provider's bounds.

    Args:
        namespace: of the TrustPolicy.
        name: of the TrustPolicy.
        generation: of the spec that was compiled.
        settings: the provider's, against which it was compiled.
        enforce: False: evaluated, counted and traced, but never granting.
        trust: whose subject tokens are trusted.
        grants: what it gives, in the policy's order.
        actors: who may act for the subject; empty: nobody.
    """

    namespace: str
    name: str
    generation: int
    settings: Settings = field(repr=False)
    enforce: bool
    trust: Trust
    grants: tuple[CompiledGrant, ...]
    actors: tuple[Trust, ...] = ()
    id: str = field(init=False)
    """`<namespace>/<name>`: how requests, audit lines and minted tokens name the policy."""
    claims: tuple[str, ...] = field(init=False)
    """The claims of subject tokens that its rules and its condition ask for, nested ones with dots; never a value."""
    is_costly: bool = field(init=False)
    """Whether a rule may take long: what it takes is then measured."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", f"{self.namespace}/{self.name}")
        rules = (rule for trust in (self.trust, *self.actors) for rule in trust.rules)
        asked = () if self.trust.condition is None else tuple((name,) for name in sorted(self.trust.condition.claims))
        object.__setattr__(self, "claims", _named((*(rule.path for rule in self.trust.rules), *asked)))
        object.__setattr__(self, "is_costly", any(rule.cost >= REGEX for rule in rules))

    @property
    def longest_ttl(self) -> int:
        """Longest lifetime in seconds of a token that we sign under this policy; 0 if it signs none."""
        return max((grant.ttl for grant in self.grants), default=0)


# Thousands of policies ask for the same few claims, and every audit line names them.
@lru_cache(maxsize=1024)
def _named(paths: tuple[Path, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(".".join(path) for path in paths))
