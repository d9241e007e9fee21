"""A key outside of the process, and a snapshot that signs with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fakes.exchange import ec_key
from fakes.sts import snapshot
from tailseal.tokens.signers import LocalSigner
from tailseal.workers.common.bundle.snapshot import Snapshot


class Outside:
    """A key that has to be waited for, and something that happens meanwhile."""

    alg, remote, proven = "ES256", True, True

    def __init__(self, kid: str = "k1", key: str = "ours") -> None:
        self.kid, self._inside = kid, LocalSigner(ec_key(key), "ES256", kid)
        self.meanwhile: Callable[[], None] = lambda: None
        self.signed = 0

    def sign(self, signing_input: bytes) -> bytes:
        self.signed += 1
        self.meanwhile()
        return self._inside.sign(signing_input)

    def close(self) -> None: ...


def signed_by(outside: Outside, found: Snapshot | None = None) -> Snapshot:
    found = found or snapshot()
    return replace(found, signing=replace(found.signing, signers={"k1": outside}))
