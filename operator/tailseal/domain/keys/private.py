"""What kinds of private keys sign, whoever brought them, and how it is said that one does not."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

MAX_RSA_BITS: Final = 4096
"""Larger keys would take longer to check and to sign with than anybody waits."""

UNREADABLE: Final = (ValueError, TypeError, OverflowError, UnsupportedAlgorithm)
"""What is raised where bytes make up no key."""


class KeyRefused(Exception):  # noqa: N818 - what happened, not a fault of ours
    """The key cannot be used.

    Args:
        message: what is wrong and what would be right; never anything of the key.
        member: the field of the member of `spec.source` that it is about.
    """

    def __init__(self, message: str, member: str = "secretRef") -> None:
        super().__init__(message)
        self.member = member
