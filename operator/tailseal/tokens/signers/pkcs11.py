"""Signing inside a PKCS#11 token: the private key never leaves it, and no signature leaves us that does not verify."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tailseal.tokens.signers.protocol import SignerError

if TYPE_CHECKING:
    from tailseal.domain.keys.handle import Handle
    from tailseal.tokens.keyset import VerificationKey

    Sign = Callable[[bytes], bytes]

_SALT_BYTES: Final = 32

_BARRED: Final[dict[bytes, str]] = {}
"""What the token said to a PIN, by digest of library, token and PIN: its other keys must not try it, too."""


class Pkcs11Signer:
    """A private key in a token; it is looked up when it is first needed, and again after its session was lost.

    A wrong PIN is tried once by a process and never again, by whatever key: most tokens lock themselves after a few.

    Args:
        handle: where the key is.
        alg: JWS algorithm.
        kid: as published.
        public: the published key, which every signature has to verify with.
    """

    remote: Final = True

    def __init__(self, handle: Handle, alg: str, kid: str, public: VerificationKey) -> None:
        self.alg: Final = alg
        self.kid: Final = kid
        self.proven = False
        self._handle, self._public = handle, public
        self._session: Any = None
        self._sign: Sign | None = None

    def sign(self, signing_input: bytes) -> bytes:
        """The signature, after it was seen to verify.

        Raises:
            SignerError: the token is out of reach, or holds another key; says which, never the PIN.
        """
        fresh = self._sign is None
        try:
            try:
                signature = self._signed(signing_input)
            except _errors().PKCS11Error:
                if fresh:
                    raise
                self.close()  # the session was lost: a token that was away, or a library that was started anew
                signature = self._signed(signing_input)
        except (_errors().PKCS11Error, OSError, RuntimeError) as error:
            self.close()
            raise SignerError(f"key {self.kid!r} in token {self._handle.token_label!r}: {_why(error)}") from None
        if not self._public.verify(signing_input, signature):
            self.close()
            text = f"what {self._handle.key_label!r} names in token {self._handle.token_label!r} is another key than"
            raise SignerError(f"{text} is published as {self.kid!r}")
        self.proven = True
        return signature

    def close(self) -> None:
        """End the session; what was proven in it says nothing of the next."""
        self.proven = False
        session, self._session, self._sign = self._session, None, None
        if session is not None:
            with contextlib.suppress(_errors().PKCS11Error):
                session.close()

    def _signed(self, signing_input: bytes) -> bytes:
        if self._sign is None:
            self._sign = self._open()
        return self._sign(signing_input)

    def _open(self) -> Sign:
        """Log in and find the key."""
        import pkcs11  # noqa: PLC0415 - heavy, and needed by few

        handle = self._handle
        login = hashlib.sha256(f"{handle.module}\n{handle.token_label}\n{handle.pin}".encode()).digest()
        if login in _BARRED:
            where = f"key {self.kid!r} in token {handle.token_label!r}"
            raise SignerError(f"{where}: {_BARRED[login]}: not tried again before the PIN is changed")
        token = _library(handle.module).get_token(token_label=handle.token_label)
        try:
            self._session = token.open(user_pin=handle.pin)
        except pkcs11.UserAlreadyLoggedIn:  # by another key: a login is the whole process's
            self._session = token.open()
        except (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.PinExpired, pkcs11.PinInvalid, pkcs11.PinLenRange) as no:
            _BARRED[login] = type(no).__name__
            where = f"key {self.kid!r} in token {handle.token_label!r}"
            raise SignerError(f"{where}: {_BARRED[login]}: not tried again before the PIN is changed") from None
        sought = {pkcs11.Attribute.LABEL: handle.key_label, pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}
        found = list(self._session.get_objects(sought))  # all: a search that is not ended outlives its session
        if len(found) != 1:
            many = "several private keys are" if found else "no private key is"
            self.close()
            raise SignerError(f"{many} named {handle.key_label!r} in token {handle.token_label!r}: one is needed")
        return _MECHANISMS[self.alg](found[0])

    def __repr__(self) -> str:
        return f"Pkcs11Signer(alg={self.alg!r}, kid={self.kid!r})"


def _library(module: str) -> Any:  # noqa: ANN401 - a library
    import pkcs11  # noqa: PLC0415 - as above

    try:
        with open(module, "rb"):  # noqa: PTH123 - an error that says what is wrong, before the library's that does not
            pass
        return pkcs11.lib(module)
    except (OSError, pkcs11.PKCS11Error):
        text = f"{module} cannot be loaded as a PKCS#11 library: it has to be in the worker's image"
        raise SignerError(text) from None


def _errors() -> Any:  # noqa: ANN401 - a module
    import pkcs11.exceptions  # noqa: PLC0415 - as above

    return pkcs11.exceptions


def _why(error: Exception) -> str:
    """The kind of error in the words of PKCS#11: texts of libraries may hold anything."""
    return type(error).__name__


def _rs256(key: Any) -> Sign:  # noqa: ANN401 - a key of the library
    import pkcs11  # noqa: PLC0415

    return lambda message: bytes(key.sign(message, mechanism=pkcs11.Mechanism.SHA256_RSA_PKCS))


def _ps256(key: Any) -> Sign:  # noqa: ANN401
    import pkcs11  # noqa: PLC0415

    parameters = (pkcs11.Mechanism.SHA256, pkcs11.MGF.SHA256, _SALT_BYTES)
    mechanism = pkcs11.Mechanism.SHA256_RSA_PKCS_PSS
    return lambda message: bytes(key.sign(message, mechanism=mechanism, mechanism_param=parameters))


def _es256(key: Any) -> Sign:  # noqa: ANN401
    import pkcs11  # noqa: PLC0415

    return lambda message: bytes(key.sign(hashlib.sha256(message).digest(), mechanism=pkcs11.Mechanism.ECDSA))


def _es384(key: Any) -> Sign:  # noqa: ANN401
    import pkcs11  # noqa: PLC0415

    return lambda message: bytes(key.sign(hashlib.sha384(message).digest(), mechanism=pkcs11.Mechanism.ECDSA))


def _eddsa(key: Any) -> Sign:  # noqa: ANN401
    import pkcs11  # noqa: PLC0415

    return lambda message: bytes(key.sign(message, mechanism=pkcs11.Mechanism.EDDSA))


_MECHANISMS: Final[Mapping[str, Callable[[Any], Sign]]] = {
    "RS256": _rs256,
    "PS256": _ps256,
    "ES256": _es256,
    "ES384": _es384,
    "EdDSA": _eddsa,
}
"""JWS algorithm to PKCS#11 mechanism; the hash is ours for ECDSA alone, which most tokens cannot hash for."""
