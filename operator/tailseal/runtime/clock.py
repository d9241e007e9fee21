"""The real clock and the real random source, where reconcilers are given ports for them."""

from __future__ import annotations

import asyncio
import secrets
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa


class SystemClock:
    """Implements `reconcile.context.Clock`."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()


class SystemEntropy:
    """Implements `reconcile.context.Entropy` on the operating system's random source."""

    def token(self, size: int) -> bytes:
        """That many random bytes."""
        return secrets.token_bytes(size)

    async def private_key(self, algorithm: str, rsa_bits: int) -> bytes:
        """A new key as PKCS#8 PEM; made in a thread, as a large RSA key takes seconds.

        Raises:
            ValueError: no such algorithm.
        """
        return await asyncio.to_thread(_private_key, algorithm, rsa_bits)


def _private_key(algorithm: str, rsa_bits: int) -> bytes:
    return _generate(algorithm, rsa_bits).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _generate(
    algorithm: str, rsa_bits: int
) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey:
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case "RS256" | "PS256":
            return rsa.generate_private_key(65537, rsa_bits)
        case _:
            raise ValueError(f"no such signature algorithm: {algorithm}")
