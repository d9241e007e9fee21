"""The one thing asked of a private key, wherever it lives."""

from __future__ import annotations

from typing import Protocol


class SignerError(Exception):
    """The key cannot be used; the message never holds any of it."""


class Signer(Protocol):
    """A private key bound to one algorithm."""

    @property
    def alg(self) -> str:
        """JWS algorithm name (RFC 7518 section 3.1), e.g. `ES256`."""
        ...

    @property
    def kid(self) -> str:
        """Key id, as published."""
        ...

    def sign(self, signing_input: bytes) -> bytes:
        """The JWS signature over the bytes (ECDSA: r and s of fixed width, RFC 7518 section 3.4)."""
        ...
