"""What a manifest of the folder says, as the core takes it; or what is wrong with it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from tailseal.api.findings import Finding, SpecError
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.meta import ALLOW_LABEL, ROTATE_ANNOTATION
from tailseal.api.parse import parse
from tailseal.api.reasons import Reason
from tailseal.api.signingkey import KeySource, SigningKeySpec
from tailseal.api.times import parse_time
from tailseal.api.unsupported import unsupported
from tailseal.domain.rotation.signingkey.ledger import Schedule
from tailseal.domain.rotation.signingkey.plan import Wish
from tailseal.workers.embedded.manifests import Manifest


def _wish(manifest: Manifest) -> Wish:
    spec = parse("SigningKey", manifest.obj, loopback=True)
    _supported(spec)
    rotation = spec.rotation
    schedule = Schedule(
        algorithm=spec.algorithm,
        rsa_bits=spec.rsa_bits,
        interval=rotation.interval,
        publish_lead=rotation.publish_lead,
        max_age=spec.jwks.max_age,
        clock_skew=spec.clock_skew,
        spare=rotation.spare,
        sign_now=rotation.on_revoke_without_spare == "SignNow",
        imported=spec.brought,
    )
    return Wish(schedule, _rotate_after(manifest.obj), revoked(manifest.obj))


def brought(manifest: Manifest) -> KeySource | None:
    """Where the key of a valid SigningKey comes from, if not from us."""
    spec = parse("SigningKey", manifest.obj, loopback=True)
    return spec.source if spec.brought else None


def _spec(manifest: Manifest) -> IdentityProviderSpec:
    spec = parse("IdentityProvider", manifest.obj, loopback=True)
    _supported(spec)
    if spec.publish:
        text = "is the operator's work in a cluster, and nobody does it here: leave it out"
        raise SpecError([Finding("spec.publish", text, Reason.NOT_SUPPORTED_YET)])
    return spec


def _secret(manifest: Manifest) -> dict[str, bytes]:
    """A Secret's data; it needs the same label as in a cluster, so that a folder can move there unchanged."""
    if (manifest.obj["metadata"].get("labels") or {}).get(ALLOW_LABEL) != "true":
        return {}
    try:
        encoded = {
            name: base64.b64decode(value, validate=True) for name, value in (manifest.obj.get("data") or {}).items()
        }
    except (binascii.Error, ValueError, TypeError, AttributeError):
        raise SpecError([Finding("data", "must be texts in base64; or use stringData")]) from None
    plain = manifest.obj.get("stringData") or {}
    if not isinstance(plain, dict) or not all(isinstance(value, str) for value in plain.values()):
        raise SpecError([Finding("stringData", "must be texts (in YAML: put them in quotes)")])
    return {**encoded, **{name: value.encode() for name, value in plain.items()}}


def _namespace(manifest: Manifest) -> dict[str, Any]:
    return manifest.obj


def _supported(spec: SigningKeySpec | IdentityProviderSpec) -> None:
    if later := unsupported(spec):
        raise SpecError(later)


def _rotate_after(obj: Mapping[str, Any]) -> float | None:
    text = (obj["metadata"].get("annotations") or {}).get(ROTATE_ANNOTATION)
    if text is None:
        return None
    try:
        return parse_time(text)
    except (ValueError, TypeError):
        path = f"metadata.annotations[{ROTATE_ANNOTATION}]"
        raise SpecError([Finding(path, "must be an RFC 3339 time in quotes")]) from None


def revoked(obj: Mapping[str, Any]) -> frozenset[str]:
    """The ids that a SigningKey revokes, also where its spec is refused otherwise."""
    ids = (obj.get("spec") or {}).get("revokedKeyIDs") if isinstance(obj.get("spec"), dict) else None
    return frozenset(kid for kid in ids if isinstance(kid, str)) if isinstance(ids, list) else frozenset()


MEANINGS: Final = {"SigningKey": _wish, "IdentityProvider": _spec, "Secret": _secret, "Namespace": _namespace}
"""By kind; of others no single manifest means anything. Each raises SpecError."""
