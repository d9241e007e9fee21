"""What an issuer's workers have loaded, and sign with."""

from __future__ import annotations

from dataclasses import dataclass, field

from tailseal.domain.bundle.model import HeldKey, Signing
from tailseal.domain.evidence import Report

SOURCES = {"a": "ES256", "b": "ES256", "c": "RS256"}


@dataclass(frozen=True)
class Files:
    """The signing Secret."""

    version: int = 0
    published: frozenset[str] = frozenset()
    held: tuple[tuple[str, float], ...] = ()
    active: tuple[tuple[str, str], ...] = ()
    default: str = ""
    max_age: int = 0
    next_change: float | None = None
    ttl: int = 0
    revision: int = 0

    def signing(self) -> Signing | None:
        """As the operator reads it back."""
        if not self.version:
            return None
        return Signing(
            issuer="",
            held=tuple(HeldKey(kid=kid, alg=_alg(kid), file="", sign_until=until) for kid, until in self.held),
            active=dict(self.active),
            default_algorithm=self.default,
            jwks={"keys": [{"kid": kid, "alg": _alg(kid)} for kid in sorted(self.published)]},
            max_age=self.max_age,
            next_change=self.next_change,
            max_token_ttl=self.ttl,
            status_key="",
            revision=self.revision,
        )


def _alg(kid: str) -> str:
    return SOURCES[kid[0]]


@dataclass
class Pod:
    """A worker: what it loaded, and when it will load what is written by now."""

    uid: str
    loaded: Files
    skew: float
    lag: float
    due: float | None = None
    ready: bool = False
    ready_at: float = 0.0
    ever_ready: bool = False
    frozen: bool = False
    mute: bool = False
    away: bool = False
    proven: set[str] = field(default_factory=set)
    report: Report | None = None

    def signs(self, now: float) -> dict[str, str]:
        until = dict(self.loaded.held)
        return {alg: kid for alg, kid in self.loaded.active if now + self.skew < until.get(kid, 0.0)}
