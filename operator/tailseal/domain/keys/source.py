"""Where a SigningKey's spec says that its key comes from: which Secret is needed for it, and the key made of that."""

from __future__ import annotations

from collections.abc import Mapping

from tailseal.api.signingkey import KeySource
from tailseal.domain.keys.handle import token_key
from tailseal.domain.keys.imported import ImportedKey, imported_key
from tailseal.domain.keys.private import KeyRefused


def needed_secret(source: KeySource | None) -> tuple[str, str] | None:
    """Field path and name of the Secret that the source names; None where keys are made."""
    if source is not None and source.import_ is not None:
        return "spec.source.import.secretRef", source.import_.secret_ref.name
    if source is not None and source.pkcs11 is not None:
        return "spec.source.pkcs11.pinSecretRef", source.pkcs11.pin_secret_ref.name
    return None


def brought_key(source: KeySource, algorithm: str, files: Mapping[str, bytes]) -> ImportedKey:
    """The key that is brought.

    Args:
        source: an import, or a key in a token.
        algorithm: `spec.algorithm`.
        files: of the Secret that it needs.

    Raises:
        KeyRefused: it cannot be used.
    """
    if source.import_ is not None:
        return imported_key(files, algorithm, source.import_.key_id)
    if source.pkcs11 is None:
        raise KeyRefused("no key is brought: name one", "import")
    return token_key(
        module=source.pkcs11.module,
        token_label=source.pkcs11.token_label,
        key_label=source.pkcs11.key_label,
        public_key=source.pkcs11.public_key,
        key_id=source.pkcs11.key_id,
        algorithm=algorithm,
        files=files,
    )


def refusal(source: KeySource, refused: KeyRefused, secret: str) -> tuple[str, str]:
    """Path of the field that a refusal is about, and what to say there.

    Args:
        source: of the key.
        refused: as raised by `brought_key`.
        secret: name of the Secret that it needed.
    """
    if source.import_ is not None:
        return f"spec.source.import.{refused.member}", f"Secret {secret}: {refused}"
    text = f"Secret {secret}: {refused}" if refused.member == "pinSecretRef" else str(refused)
    return f"spec.source.pkcs11.{refused.member}", text
