"""The yardstick: one RSA-2048 verification and one P-256 signature by cryptography, and nothing around them."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tailseal.tokens import compact
from tailseal_dev.bench import clock
from tailseal_dev.bench.workload import Workload

SECONDS = 0.5


class Raw:
    """The bare operations on real input.

    Args:
        workload: whose token and keys to use.
    """

    def __init__(self, workload: Workload) -> None:
        token = compact.split(workload.token(0))
        self._public = workload.foreign.public_key()
        self._signed, self._signature = token.signing_input, token.signature
        self._ec = ec.generate_private_key(ec.SECP256R1())
        self._rsa: rsa.RSAPrivateKey = workload.foreign
        self._padding, self._sha = padding.PKCS1v15(), hashes.SHA256()
        self._ecdsa = ec.ECDSA(self._sha)
        self._message = token.signing_input[:500]

    def verify_and_sign(self) -> float:
        """Seconds of CPU of one verification and one signature, the mean over half a second."""
        once = clock.spent(lambda: self._pairs(200), 200)
        count = int(SECONDS / once)
        return clock.spent(lambda: self._pairs(count), count)

    def verify(self, count: int) -> float:
        """Seconds of CPU of one verification."""
        return clock.spent(lambda: self._verifications(count), count)

    def rsa_sign(self, count: int) -> float:
        """Seconds of CPU of one RSA-2048 signature."""
        return clock.spent(lambda: self._rsa_signatures(count), count)

    def _pairs(self, count: int) -> None:
        for _ in range(count):
            self._public.verify(self._signature, self._signed, self._padding, self._sha)
            self._ec.sign(self._message, self._ecdsa)

    def _verifications(self, count: int) -> None:
        for _ in range(count):
            self._public.verify(self._signature, self._signed, self._padding, self._sha)

    def _rsa_signatures(self, count: int) -> None:
        for _ in range(count):
            self._rsa.sign(self._message, self._padding, self._sha)
