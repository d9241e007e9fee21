"""What every endpoint of a worker is given: the present snapshot and the ports to the outside, nothing global."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tailseal.state.protocol import Nowhere, Once
from tailseal.upstream.authkeys import AuthKey, KeyWish
from tailseal.upstream.tailscale import UpstreamToken
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.limits.exchange import Limits
from tailseal.workers.common.outbound.keycache import KeyCache
from tailseal.workers.common.outbound.signing import RemoteSigning
from tailseal.workers.common.telemetry.audit import Audit
from tailseal.workers.common.telemetry.metrics import Metrics
from tailseal.workers.common.telemetry.ring import Ring


class Upstreams(Protocol):
    """How an exchange asks an upstream of the snapshot's settings for a token."""

    async def token(
        self, snapshot: Snapshot, upstream: str, *, scopes: Sequence[str], tags: Sequence[str]
    ) -> UpstreamToken:
        """A token with exactly these scopes and tags.

        Args:
            snapshot: whose settings name the upstream and whose credentials hold its client id and secret.
            upstream: its name.
            scopes: scopes to ask for; never empty.
            tags: tags to ask for.

        Raises:
            UpstreamError: `reason` is a stable word, `retryable` says whether the caller may try again later
                (answer 503 `temporarily_unavailable`) or not (`refused`: 400 `invalid_scope` / `invalid_target`).
        """
        ...

    async def key(self, snapshot: Snapshot, upstream: str, wish: KeyWish) -> AuthKey:
        """A one-time key to join the network, of exactly these terms.

        Args:
            snapshot: as for `token`.
            upstream: its name.
            wish: what the key is to be.

        Raises:
            UpstreamError: as for `token`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """The ports of a worker's endpoints.

    Args:
        component: `sts`, `idp` or `serve`; a metric label.
        current: the last good snapshot, or None before the first.
        withheld: None if tokens may be granted now, else the reason word why not (no bundle, behind, unheard):
            answer 503 `temporarily_unavailable`. Discovery and JWKS do not ask it.
        keys: keys of foreign issuers.
        upstreams: Tailscale and its like.
        audit: one line per decision; `write` raises `AuditError`: then nothing is granted.
        metrics: counters with bound children.
        clock: Unix seconds.
        remote: asks keys outside of this process for signatures.
        decision_id: makes the id that a refusal and its audit line share.
        limits: how often whom is served.
        ring: the last decisions, for explanations.
        once: the guard of what counts once.
    """

    component: str
    current: Callable[[], Snapshot | None]
    withheld: Callable[[], str | None]
    keys: KeyCache
    upstreams: Upstreams
    audit: Audit
    metrics: Metrics
    clock: Callable[[], float]
    decision_id: Callable[[], str]
    remote: RemoteSigning = field(default_factory=RemoteSigning)
    limits: Limits = field(default_factory=Limits)
    ring: Ring = field(default_factory=Ring)
    once: Once = field(default_factory=Nowhere)
