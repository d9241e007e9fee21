"""Signing with a private key held in memory, prepared once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tailseal.tokens.algorithms import ALGORITHMS, SIGNING, fits
from tailseal.tokens.signers.protocol import SignerError

_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {"ES256": hashes.SHA256, "ES384": hashes.SHA384}


class LocalSigner:
    """A private key from a PEM; it never shows its material."""

    __slots__ = ("_key", "alg", "kid", "sign")

    remote: ClassVar[bool] = False
    proven: ClassVar[bool] = True

    def __init__(self, key: Any, alg: str, kid: str) -> None:  # noqa: ANN401 - cryptography's private keys share no base
        if alg not in SIGNING:
            raise SignerError(f"algorithm {alg!r} is not one of {', '.join(SIGNING)}")
        if not fits(alg, key):
            raise SignerError(f"key {kid!r}: kind, curve or size does not fit {alg}")
        self.alg: Final = alg
        self.kid: Final = kid
        self._key = key
        self.sign: Final = _prepared(key, alg)
        """The JWS signature over the bytes."""

    @classmethod
    def from_pem(cls, pem: bytes, alg: str, kid: str) -> LocalSigner:
        """Load an unencrypted PKCS#8 (or PKCS#1, SEC 1) private key.

        The full check of an RSA key costs 40 ms and is skipped: it was made when the key was, or imported.

        Raises:
            SignerError: unreadable, or not of the kind, curve and size that the algorithm needs.
        """
        try:
            key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SignerError(f"key {kid!r}: not an unencrypted PEM private key") from None
        return cls(key, alg, kid)

    def public_key(self) -> Any:  # noqa: ANN401 - cryptography's public keys share no base
        """The public half, to compare with what is published."""
        return self._key.public_key()

    def __repr__(self) -> str:
        return f"LocalSigner(alg={self.alg!r}, kid={self.kid!r})"


def _prepared(key: Any, alg: str) -> Callable[[bytes], bytes]:  # noqa: ANN401 - as above
    """What signs with the key; for ECDSA everything is made once, which is a twentieth of an exchange."""
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return partial(ALGORITHMS[alg].sign, key=key)
    ecdsa, size = ec.ECDSA(_HASHES[alg]()), (key.key_size + 7) // 8

    def sign(signing_input: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(signing_input, ecdsa))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")  # RFC 7518 section 3.4

    return sign
