"""PyJWT's algorithms, made once: which we verify, which we sign with, and what kind of key each needs."""

from __future__ import annotations

from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import Algorithm

SIGNING: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
"""What our own keys may be made for."""

VERIFYING: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What a foreign issuer may sign with; symmetric algorithms and `none` are not among them and never will be."""

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
"""Beyond it a verification costs milliseconds, which is a lever for whoever controls a key set."""

_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}

_jws: Final = jwt.PyJWS(algorithms=list(VERIFYING))
ALGORITHMS: Final[dict[str, Algorithm]] = {name: _jws.get_algorithm_by_name(name) for name in VERIFYING}
"""The algorithm objects by JWS name; each is stateless and shared."""


def fits(alg: str, key: object) -> bool:
    """Whether a public or private key is of the kind, curve and size that the algorithm needs.

    Sources: RFC 7518 sections 3.3 to 3.5, RFC 8037 section 3.1.
    """
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return alg[:2] in ("RS", "PS") and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return alg in _CURVES and isinstance(key.curve, _CURVES[alg])
    return alg == "EdDSA" and isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey)
