"""A foreign issuer's keys, checked and prepared once: each verifies only with the algorithms bound to it here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import Algorithm
from jwt.exceptions import InvalidKeyError, PyJWTError

from tailseal.tokens import compact
from tailseal.tokens.algorithms import ALGORITHMS, fits
from tailseal.tokens.errors import Fault, KeySetError, TokenError

MAX_KEYS: Final = 64
"""No issuer publishes more; a longer set is refused as a whole."""

MAX_DOCUMENT_BYTES: Final = 262_144

_BY_KEY_TYPE: Final[Mapping[str, tuple[str, ...]]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
_NUMBERS: Final = ("n", "e", "x", "y")
_MAX_KID: Final = 512
_MAX_NUMBER: Final = 2048
_MAX_EXPONENT: Final = 11
"""Characters of an RSA exponent (64 bits): verifying with one as long as the modulus costs fifty times as much."""


class VerificationKey:
    """A public key bound to one algorithm."""

    __slots__ = ("_algorithm", "_key", "alg", "kid")

    def __init__(self, kid: str | None, alg: str, algorithm: Algorithm, key: Any) -> None:  # noqa: ANN401
        self.kid: Final = kid
        self.alg: Final = alg
        self._algorithm = algorithm
        self._key = key

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over these bytes."""
        return self._algorithm.verify(signing_input, self._key, signature)


class KeySet:
    """The usable keys of one set; `kid in keys` says whether a token's key is among them."""

    __slots__ = ("_by_kid", "_kids")

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self._by_kid: dict[tuple[str | None, str], VerificationKey | None] = {}
        for key in keys:
            place = (key.kid, key.alg)
            # Two keys under one name and algorithm: neither can be told from the other, so neither is used.
            self._by_kid[place] = None if place in self._by_kid else key
        self._kids = frozenset(kid for (kid, _), key in self._by_kid.items() if key is not None)

    def __contains__(self, kid: object) -> bool:
        return kid in self._kids

    def __len__(self) -> int:
        return len(self._kids)

    def find(self, kid: str | None, alg: str) -> VerificationKey:
        """The key to verify with; a token without `kid` gets the only key of its algorithm, if there is only one.

        Raises:
            TokenError: `UnknownKey`, or `AlgorithmNotAllowed` if the key is bound to others.
        """
        key = self._by_kid.get((kid, alg)) if kid is not None else self._only(alg)
        if key is None:
            if kid in self._kids:
                raise TokenError(Fault.ALGORITHM_NOT_ALLOWED, "the key is not for the token's algorithm")
            raise TokenError(Fault.UNKNOWN_KEY, "the issuer publishes no such key for signing")
        return key

    def _only(self, alg: str) -> VerificationKey | None:
        keys = [key for (_, name), key in self._by_kid.items() if name == alg and key is not None]
        return keys[0] if len(keys) == 1 else None


def parse_jwks(document: bytes | Mapping[str, Any]) -> KeySet:
    """Read a JWK Set (RFC 7517 section 5); keys that are not for verifying signatures are passed over.

    Raises:
        KeySetError: not a JWK Set, too many keys, or none that we could use.
    """
    keys = _members(document)
    if len(keys) > MAX_KEYS:
        raise KeySetError(f"the key set has more than {MAX_KEYS} keys")
    usable = [key for jwk in keys for key in _usable(jwk)]
    result = KeySet(usable)
    if not len(result):
        raise KeySetError("the key set holds no key for verifying signatures that is strong enough and well-formed")
    return result


def _members(document: bytes | Mapping[str, Any]) -> list[Any]:
    if isinstance(document, bytes):
        if len(document) > MAX_DOCUMENT_BYTES:
            raise KeySetError(f"the key set is longer than {MAX_DOCUMENT_BYTES} bytes")
        try:
            document = compact.json_object(document)
        except TokenError as error:
            raise KeySetError(f"the key set is not acceptable JSON ({error.reason})") from None
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise KeySetError("the key set has no list `keys`")
    return keys


def _usable(jwk: object) -> list[VerificationKey]:
    """One entry an algorithm that the key may be used with; empty if it is not for us."""
    if not isinstance(jwk, dict) or not _for_verifying(jwk):
        return []
    try:
        algorithms = _algorithms(jwk)
        return [VerificationKey(jwk.get("kid"), alg, ALGORITHMS[alg], _load(alg, jwk)) for alg in algorithms]
    except (KeySetError, TokenError, PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, OverflowError):
        return []


def _for_verifying(jwk: dict[str, Any]) -> bool:
    """Public, meant for signatures (RFC 7517 sections 4.2, 4.3), and named by a text if at all."""
    operations = jwk.get("key_ops")
    kid = jwk.get("kid")
    return (
        _PRIVATE.isdisjoint(jwk)
        and ("use" not in jwk or jwk["use"] == "sig")
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
        and (kid is None or (isinstance(kid, str) and 0 < len(kid) <= _MAX_KID))
    )


def _algorithms(jwk: dict[str, Any]) -> tuple[str, ...]:
    kind = jwk.get("kty") if jwk.get("kty") == "RSA" else jwk.get("crv")
    possible = _BY_KEY_TYPE.get(kind, ()) if isinstance(kind, str) else ()
    if "alg" not in jwk:
        return possible
    return tuple(alg for alg in possible if alg == jwk["alg"])


def _load(alg: str, jwk: dict[str, Any]) -> Any:  # noqa: ANN401 - cryptography's public keys share no base
    for name in _NUMBERS:
        _check_number(jwk, name, _MAX_EXPONENT if name == "e" else _MAX_NUMBER)
    algorithm = ALGORITHMS[alg]
    key = algorithm.prepare_key(algorithm.from_jwk(jwk))
    if not fits(alg, key):
        raise InvalidKeyError
    return key


def _check_number(jwk: dict[str, Any], name: str, longest: int) -> None:
    if name in jwk:
        text = jwk[name]
        if not isinstance(text, str) or not 0 < len(text) <= longest:
            raise KeySetError(f"`{name}` is not a text of reasonable length")
        compact.decode(text.encode("ascii"))
