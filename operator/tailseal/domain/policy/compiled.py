"""What a TrustPolicy is once compiled: plain values and closures that a decision runs through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.cel import Program
from tailseal.domain.policy.matchers import REGEX, Path, Rule, Verdict
from tailseal.domain.policy.source import KeySource

Claims = Mapping[str, Any]


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
    """

    subject: str = ""
    claims: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """Whose tokens an entry of `actors` means; the members are those of a policy.

    Args:
        origin: the place in the manifest, e.g. `spec.actors[0].oidc`.
        source: whose keys the token must have been verified with.
        algorithms: JWS algorithms it may be signed with.
        audiences: it must name at least one of them.
        rules: all must hold.
        max_age: seconds since `iat` after which it is too old; None: no limit but `exp`.
        keys_expire_at: Unix seconds after which the inline keys do not count.
    """

    origin: str
    source: KeySource
    algorithms: frozenset[str]
    audiences: frozenset[str]
    rules: tuple[Rule, ...]
    max_age: int | None
    keys_expire_at: float | None


@dataclass(frozen=True, slots=True, eq=False)
class CompiledPolicy:
    """A policy that may be decided on: its spec is valid and within the provider's bounds.

    Args:
        namespace: of the TrustPolicy.
        name: of the TrustPolicy.
        uid: of the TrustPolicy.
        generation: of the spec that was compiled.
        settings: the provider's, against which it was compiled.
        origin: the place in the manifest of what it trusts, e.g. `spec.from.oidc`.
        enforce: False: evaluated, counted and traced, but never granting.
        source: whose keys a subject token must have been verified with.
        algorithms: JWS algorithms a subject token may be signed with.
        audiences: a subject token must name at least one of them.
        rules: subject and claim rules, cheapest first; all must hold.
        max_age: seconds since `iat` after which a subject token is too old; None: no limit but `exp`.
        keys_expire_at: Unix seconds after which the inline keys do not count for this policy.
        grants: what it gives, in the policy's order.
        actors: who may act for the subject; empty: nobody.
        condition: an expression over the claims that must give true, asked after everything else; None: there is none.
        one_time: whether a subject token counts once only.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    settings: Settings = field(repr=False)
    origin: str
    enforce: bool
    source: KeySource
    algorithms: frozenset[str]
    audiences: frozenset[str]
    rules: tuple[Rule, ...]
    max_age: int | None
    keys_expire_at: float | None
    grants: tuple[CompiledGrant, ...]
    actors: tuple[Trust, ...] = ()
    condition: Program | None = None
    one_time: bool = False
    id: str = field(init=False)
    """`<namespace>/<name>`: how requests, audit lines and minted tokens name the policy."""
    claims: tuple[str, ...] = field(init=False)
    """The claims that its rules ask for, nested ones with dots; never a value."""
    is_costly: bool = field(init=False)
    """Whether a rule may take long: what it takes is then measured."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", f"{self.namespace}/{self.name}")
        rules = (*self.rules, *(rule for actor in self.actors for rule in actor.rules))
        object.__setattr__(self, "claims", _named(tuple(rule.path for rule in self.rules)))
        object.__setattr__(self, "is_costly", any(rule.cost >= REGEX for rule in rules))

    def matches(self, claims: Claims) -> Verdict:
        """The first rule's verdict that is not `MATCH`, else `MATCH`."""
        for rule in self.rules:
            verdict = rule.test(claims)
            if verdict is not Verdict.MATCH:
                return verdict
        return Verdict.MATCH

    @property
    def longest_ttl(self) -> int:
        """Longest lifetime in seconds of a token that we sign under this policy; 0 if it signs none."""
        return max((grant.ttl for grant in self.grants), default=0)


# Thousands of policies ask for the same few claims, and every audit line names them.
@lru_cache(maxsize=1024)
def _named(paths: tuple[Path, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(".".join(path) for path in paths))
