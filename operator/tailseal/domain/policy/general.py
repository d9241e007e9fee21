"""The general form of trust, which every member of `from` is brought into before anything is decided by it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tailseal.api.findings import Finding
from tailseal.api.trustpolicy.oidc import DEFAULT_ALGORITHMS, Demands, Keys
from tailseal.domain.policy.matchers import Rule


@dataclass(frozen=True, slots=True)
class General:
    """Tokens of one issuer, by keys, audiences and rules.

    Args:
        origin: the place in the manifest, e.g. `spec.from.github`.
        issuer: `iss`, compared byte by byte; empty: the provider's own, with the keys that it publishes.
        rules: on `sub` and other claims; all must hold.
        keys: where the issuer's keys come from; None: discovery.
        ca_bundle: PEM certificates for the issuer's https instead of the system's; empty: those.
        algorithms: of signatures.
        audiences: accepted values of `aud`; empty: our issuer and the URL of our token service.
        also: further values of `aud` that are accepted where `audiences` is empty.
        max_age: seconds since `iat`; None: no limit but `exp`.
        one_time: whether a token counts once only.
        condition: an expression over the claims, asked last; empty: there is none.
        tailnet: whether callers whom the tailnet vouches for are meant, who need no token.
        findings: what is wrong with the block; a policy with any of them grants nothing.
    """

    origin: str
    issuer: str
    rules: tuple[Rule, ...]
    keys: Keys | None = None
    ca_bundle: str = ""
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    audiences: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    max_age: int | None = None
    one_time: bool = False
    condition: str = ""
    tailnet: bool = False
    findings: tuple[Finding, ...] = ()


def demanding(trust: General, demands: Demands) -> General:
    """The same trust with what is asked of anybody's tokens: said in every block in the same words."""
    return replace(
        trust,
        condition=demands.condition or "",
        max_age=demands.max_age,
        one_time=demands.replay is not None and demands.replay.one_time,
    )
