"""A signing volume with keys taken out of it and nothing put in: what may be done without knowing any promise."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import ValidationError

from tailseal.domain import canonical
from tailseal.domain.bundle import model


def key_ids(files: Mapping[str, bytes]) -> frozenset[str]:
    """Every key that the volume publishes or hands out; none if it cannot be read."""
    signing = read(files)
    if signing is None:
        return frozenset()
    return frozenset((*_published(signing), *(key.kid for key in signing.held)))


def without(files: Mapping[str, bytes], gone: Collection[str]) -> dict[str, bytes]:
    """The volume without these keys: neither published, nor held, nor signed with.

    Nothing takes the place of a signer that leaves: whether verifiers know another one is nobody's knowledge here.

    Args:
        files: of the volume.
        gone: key ids.
    """
    signing = read(files)
    if signing is None:
        return dict(files)
    held = tuple(key for key in signing.held if key.kid not in gone)
    active = {algorithm: kid for algorithm, kid in signing.active.items() if kid not in gone}
    default = signing.default_algorithm if signing.default_algorithm in active else min(active, default="")
    keys = [jwk for jwk in signing.jwks.get("keys", ()) if jwk.get("kid") not in gone]
    update = {"held": held, "active": active, "default_algorithm": default, "jwks": {"keys": keys}}
    kept = {key.file for key in held} | {model.SALT_FILE}
    return {
        model.SIGNING_FILE: canonical.dumps(signing.model_copy(update=update).document()),
        **{name: content for name, content in files.items() if name in kept},
    }


def _published(signing: model.Signing) -> list[str]:
    return [jwk["kid"] for jwk in signing.jwks.get("keys", ()) if "kid" in jwk]


def read(files: Mapping[str, bytes]) -> model.Signing | None:
    """What the volume says; None if it says nothing that can be read."""
    try:
        return model.Signing.model_validate_json(files.get(model.SIGNING_FILE, b""))
    except ValidationError:
        return None
