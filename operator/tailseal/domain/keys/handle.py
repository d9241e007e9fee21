"""Keys that stay where they are: not the material, but how a worker reaches it, stands where a PEM would stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import Field, ValidationError

from tailseal.domain import canonical
from tailseal.domain.bundle.model import BundleModel
from tailseal.domain.keys import public
from tailseal.domain.keys.imported import ImportedKey, check_rsa
from tailseal.domain.keys.private import KeyRefused

PIN_FILE: Final = "pin"
"""Name under which a Secret holds a token's user PIN."""

_MAX_PIN: Final = 256


class Handle(BundleModel):
    """A private key inside a PKCS#11 token.

    Attributes:
        module: path of the library.
        token_label: of the token.
        key_label: of the private key.
        pin: the user's; never shown.
        public_jwk: of the key, so that a handle can be told to be the right one without the token.
    """

    kind: Literal["pkcs11"] = "pkcs11"
    module: str
    token_label: str
    key_label: str
    pin: str = Field(repr=False)
    public_jwk: dict[str, Any]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.dumps(self.document())

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The handle that `to_bytes` wrote.

        Raises:
            KeyMaterialError: anything else.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError:
            raise public.KeyMaterialError("not the handle of a key") from None


def is_handle(material: bytes) -> bool:
    """Whether the material is a handle, and not a PEM."""
    return material.startswith(b"{")


def public_jwk(material: bytes, algorithm: str) -> Mapping[str, Any]:
    """The JWK of whatever stands for a private key: a PEM or a handle.

    Raises:
        KeyMaterialError: unreadable, or not a key for that algorithm.
    """
    if is_handle(material):
        return Handle.from_bytes(material).public_jwk
    return public.public_jwk(material, algorithm)


def token_key(
    *,
    module: str,
    token_label: str,
    key_label: str,
    public_key: str,
    key_id: str | None,
    algorithm: str,
    files: Mapping[str, bytes],
) -> ImportedKey:
    """A key of a PKCS#11 token as one that is brought.

    Args:
        module: path of the library.
        token_label: of the token.
        key_label: of the private key.
        public_key: PEM, SubjectPublicKeyInfo.
        key_id: its `kid`; None: the RFC 7638 thumbprint.
        algorithm: `spec.algorithm`.
        files: of the Secret with the PIN.

    Raises:
        KeyRefused: the public key does not fit, or there is no PIN.
    """
    jwk, bits = _published(public_key, algorithm)
    kid = key_id or jwk["kid"]
    handle = Handle(
        module=module,
        token_label=token_label,
        key_label=key_label,
        pin=_pin(files),
        public_jwk=jwk | {"kid": kid},
    )
    return ImportedKey(kid, algorithm, handle.public_jwk, bits, handle.to_bytes(), "spec.source.pkcs11.publicKey")


def taken_up(materials: Mapping[str, bytes], brought: ImportedKey) -> dict[str, bytes]:
    """The material by key id with what is brought.

    A handle is taken as it is said last; a PIN is the token's, so it counts for the token's other keys, too.
    """
    found = dict(materials)
    if not is_handle(brought.material):
        found.setdefault(brought.kid, brought.material)
        return found
    found[brought.kid] = brought.material
    new = Handle.from_bytes(brought.material)
    for kid, material in materials.items():
        if is_handle(material) and kid != brought.kid:
            old = Handle.from_bytes(material)
            if old.token_label == new.token_label:
                found[kid] = old.model_copy(update={"pin": new.pin, "module": new.module}).to_bytes()
    return found


def _published(public_key: str, algorithm: str) -> tuple[dict[str, Any], int | None]:
    try:
        key = load_pem_public_key(public_key.encode())
        jwk = public.jwk_of(key, algorithm)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyRefused("it is not a public key in PEM: export it anew", "publicKey") from None
    except public.KeyMaterialError as error:
        raise KeyRefused(f"{error}: name a key that fits spec.algorithm, or change that", "publicKey") from None
    try:
        return jwk, check_rsa(key) if isinstance(key, rsa.RSAPublicKey) else None
    except KeyRefused as refused:
        raise KeyRefused(str(refused), "publicKey") from None


def _pin(files: Mapping[str, bytes]) -> str:
    try:
        pin = files.get(PIN_FILE, b"").decode().rstrip("\r\n")  # an editor's last newline is no part of it
    except ValueError:
        pin = ""
    if not 0 < len(pin) <= _MAX_PIN:
        raise KeyRefused(f"the Secret needs the token's user PIN as {PIN_FILE}, in UTF-8", "pinSecretRef")
    return pin
