"""The one thing asked of a private key, wherever it lives: in memory, in a token, behind a socket or a service."""

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

    @property
    def remote(self) -> bool:
        """Whether signing waits for something outside of this process: never to be called on the event loop."""
        ...

    @property
    def proven(self) -> bool:
        """Whether its last signature was seen to verify with the published key."""
        ...

    def sign(self, signing_input: bytes) -> bytes:
        """The JWS signature over the bytes (ECDSA: r and s of fixed width, RFC 7518 section 3.4).

        Raises:
            SignerError: a remote key is out of reach, or is another key than the published one.
        """
        ...


class RemoteSigner(Signer, Protocol):
    """A key outside of this process. All calls come from one thread."""

    def close(self) -> None:
        """Let go of what the outside keeps open for us; the next signature opens it again."""
        ...
