"""What a worker acts on between two reloads: one immutable picture of the bundle, already checked and compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tailseal.domain.bundle.model import HeldKey, Settings, Signing
from tailseal.tokens.signers import Signer

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient
    from tailseal.domain.policy.index import PolicyIndex


@dataclass(frozen=True, slots=True)
class LoadedSigning:
    """The signing volume after its checks: every active key is held, published and, if it is here, was seen to sign.

    Args:
        model: `signing.json`.
        signers: a prepared signer by key id, for each held and published key.
        held: the held keys by key id (with their lease, `sign_until`).
        jwks: the published set as the bytes to serve, canonical JSON.
        status_key: the poll key.
        salt: what pairwise subjects follow from.
    """

    model: Signing = field(repr=False)
    signers: Mapping[str, Signer]
    held: Mapping[str, HeldKey]
    jwks: bytes = field(repr=False)
    status_key: bytes = field(repr=False)
    salt: bytes = field(repr=False)

    @property
    def proven(self) -> tuple[str, ...]:
        """Ids of the held keys that were seen to sign: what the operator may count on."""
        return tuple(kid for kid, signer in self.signers.items() if signer.proven)

    def signer(self, algorithm: str, now: float) -> Signer | None:
        """The active signer of the algorithm (`""`: the default algorithm), or None if there is none within its lease.

        Args:
            algorithm: JWS algorithm name, or the empty string.
            now: Unix seconds.
        """
        kid = self.model.active.get(algorithm or self.model.default_algorithm)
        if kid is None or now >= self.held[kid].sign_until:
            return None
        return self.signers[kid]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything loaded, swapped as one; a later reload makes a new one with a higher serial.

    Args:
        serial: grows by one with each swap, so that what is built from a snapshot can be kept for as long as it holds.
        signing: keys, JWKS and poll key.
        settings: the provider's settings.
        index: the compiled policies.
        credentials: upstream and client-auth material by file name; never to be logged.
        digests: per volume, the digest of what is completely loaded (what the operator is told).
        applied: per volume, the digest of what this replica acts on even if a part of it was refused.
        policies: how many policies may grant.
        problems: short reason words of what could not be loaded, never content.
        clients: the OAuth clients by client id.
    """

    serial: int
    signing: LoadedSigning
    settings: Settings
    index: PolicyIndex
    credentials: Mapping[str, bytes] = field(repr=False)
    digests: Mapping[str, str]
    applied: Mapping[str, str]
    policies: int = 0
    problems: tuple[str, ...] = ()
    clients: Mapping[str, CompiledClient] = field(default_factory=dict)
