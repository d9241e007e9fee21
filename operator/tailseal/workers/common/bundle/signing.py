"""Reads the volume `signing`: a set is taken only if every key in it is there, published, and seen to sign.

A key in a token is seen to sign later, off this path: a token out of reach must not keep a revocation from us.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from tailseal.domain import canonical
from tailseal.domain.bundle.model import SALT_FILE, SIGNING_FILE, HeldKey, Signing
from tailseal.domain.keys.public import KeyMaterialError
from tailseal.tokens.errors import KeySetError, TokenError
from tailseal.tokens.keyset import KeySet, VerificationKey, parse_jwks
from tailseal.tokens.signers import LocalSigner, Signer, SignerError
from tailseal.workers.common.bundle.problem import BundleError, explain
from tailseal.workers.common.bundle.snapshot import LoadedSigning
from tailseal.workers.common.bundle.source import Files

_PROBE: Final = b"tailseal signing probe"
_STATUS_KEY_BYTES: Final = 32


class SigningReader:
    """Reads sets one after the other; a key that was proven once is not proven again while it stays the same."""

    def __init__(self) -> None:
        self._proven: dict[bytes, Signer] = {}

    def read(self, files: Files) -> LoadedSigning:
        """The set, checked.

        Raises:
            BundleError: something is missing, unreadable, or contradicts itself; nothing of the set may be used.
        """
        model = _model(files)
        signers = self._signers(model, files)
        held = {key.kid: key for key in model.held if key.kid in signers}
        _check_active(model, held)
        status_key = _status_key(model.status_key)
        return LoadedSigning(
            model=model,
            signers=signers,
            held=held,
            jwks=canonical.dumps(model.jwks),
            status_key=status_key,
            salt=_salt(files, status_key),
        )

    def _signers(self, model: Signing, files: Files) -> Mapping[str, Signer]:
        """Signers of the held keys that are published; a key that nobody could verify with is not used."""
        published = {jwk.get("kid"): jwk for jwk in _jwks(model)}
        keys = _key_set(model) if published else None
        signers: dict[str, Signer] = {}
        proven: dict[bytes, Signer] = {}
        for key in model.held:
            if key.file not in files:
                raise BundleError("KeyFileMissing", f"{SIGNING_FILE} holds {key.kid}, but {key.file} is not there")
            if keys is not None and key.kid in published:
                proof = canonical.dumps([key.kid, key.alg, canonical.digest(files[key.file]), published[key.kid]])
                signers[key.kid] = proven[proof] = self._proven.get(proof) or _prove(key, files[key.file], keys)
        self._proven = proven
        return signers


def _model(files: Files) -> Signing:
    if SIGNING_FILE not in files:
        raise BundleError("SigningMissing", f"{SIGNING_FILE} is not there: is the provider's signing Secret mounted?")
    try:
        return Signing.model_validate_json(files[SIGNING_FILE])
    except ValidationError as error:
        raise BundleError("SigningCorrupt", f"{SIGNING_FILE}: {explain(error)}") from None


def _jwks(model: Signing) -> list[dict[str, object]]:
    keys = model.jwks.get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise BundleError("SigningCorrupt", f"{SIGNING_FILE}: jwks.keys: a list of JWKs is needed")
    return keys


def _key_set(model: Signing) -> KeySet:
    try:
        return parse_jwks(model.jwks)
    except KeySetError as error:
        raise BundleError("SigningCorrupt", f"{SIGNING_FILE}: jwks: {error}") from None


def _prove(key: HeldKey, material: bytes, published: KeySet) -> Signer:
    """A signer whose signature the published key was seen to verify, or that will see to it itself."""
    try:
        public = published.find(key.kid, key.alg)
        if material.startswith(b"{"):
            return _in_token(key, material, public)
        signer = LocalSigner.from_pem(material, key.alg, key.kid)
        verified = public.verify(_PROBE, signer.sign(_PROBE))
    except (SignerError, KeyMaterialError) as error:
        raise BundleError("KeyUnreadable", f"{key.file}: {error}") from None
    except TokenError as error:
        raise BundleError("KeyNotAsPublished", f"{SIGNING_FILE}: jwks: {key.kid} for {key.alg}: {error}") from None
    if not verified:
        raise BundleError("KeyNotAsPublished", f"{key.file} is another key than {SIGNING_FILE} publishes as {key.kid}")
    return signer


def _in_token(key: HeldKey, handle: bytes, public: VerificationKey) -> Signer:
    from tailseal.domain.keys.handle import Handle  # noqa: PLC0415 - few workers have such keys
    from tailseal.tokens.signers.pkcs11 import Pkcs11Signer  # noqa: PLC0415

    return Pkcs11Signer(Handle.from_bytes(handle), key.alg, key.kid, public)


def _check_active(model: Signing, held: Mapping[str, HeldKey]) -> None:
    names = {key.kid for key in model.held}
    for algorithm, kid in model.active.items():
        if kid not in names:
            raise BundleError("ActiveKeyNotHeld", f"{SIGNING_FILE}: active.{algorithm} is {kid}, which held lacks")
        if kid not in held:
            raise BundleError("ActiveKeyNotPublished", f"{SIGNING_FILE}: active.{algorithm} is {kid}, not in jwks")
        if held[kid].alg != algorithm:
            raise BundleError("SigningCorrupt", f"{SIGNING_FILE}: active.{algorithm} is {kid}, a {held[kid].alg} key")
    if model.active and model.default_algorithm not in model.active:
        raise BundleError("SigningCorrupt", f"{SIGNING_FILE}: defaultAlgorithm has no active key")


def _salt(files: Files, status_key: bytes) -> bytes:
    salt = files.get(SALT_FILE, status_key)
    if len(salt) != _STATUS_KEY_BYTES:
        raise BundleError("SigningCorrupt", f"{SALT_FILE}: {_STATUS_KEY_BYTES} bytes are needed")
    return salt


def _status_key(text: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _STATUS_KEY_BYTES:
        raise BundleError("SigningCorrupt", f"{SIGNING_FILE}: statusKey: 32 bytes of base64url are needed")
    return key
