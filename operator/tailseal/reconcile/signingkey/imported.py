"""The key that a SigningKey is brought: with a Secret that may be read, or why there is none to take."""

from __future__ import annotations

from tailseal.api import meta
from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.api.signingkey import SigningKeySpec
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.domain.keys.imported import ImportedKey
from tailseal.domain.keys.private import KeyRefused
from tailseal.domain.keys.source import brought_key, needed_secret, refusal
from tailseal.domain.rotation import LedgerError
from tailseal.domain.rotation.ledger import FILE
from tailseal.domain.rotation.signingkey.importing import held_elsewhere
from tailseal.domain.rotation.signingkey.ledger import SigningKeyLedger
from tailseal.reconcile import kept_secret
from tailseal.reconcile.context import Objects

Outcome = tuple[ImportedKey | None, tuple[Finding, ...] | None]


def import_of(objects: Objects, obj: Object, spec: SigningKeySpec) -> Outcome:
    """The key to import and what stands in its way; the latter is None if none is asked for.

    Args:
        objects: the store.
        obj: the SigningKey.
        spec: its spec.
    """
    source, needed = spec.source, needed_secret(spec.source)
    if source is None or needed is None:
        return None, None
    namespace, (path, name) = obj["metadata"]["namespace"], needed
    secret = objects.get(Ref(kinds.SECRET, namespace, name))
    if problem := _unreadable(secret, namespace, name, path):
        return None, (problem,)
    try:
        key = brought_key(source, spec.algorithm, kept_secret.content(secret or {}))
    except KeyRefused as refused:
        return None, (Finding(*refusal(source, refused, name), Reason.REF_INVALID),)
    except ValueError:
        return None, (Finding(path, f"Secret {name} is not base64", Reason.REF_INVALID),)
    elsewhere = _elsewhere(objects, namespace, obj["metadata"]["name"], key)
    return (None, (elsewhere,)) if elsewhere is not None else (key, ())


def _unreadable(secret: Object | None, namespace: str, name: str, path: str) -> Finding | None:
    if secret is None:
        text = (
            f"there is no Secret {name} in namespace {namespace} that carries the label {meta.ALLOW_LABEL}=true; "
            "create or label it"
        )
        return Finding(path, text, Reason.REF_NOT_FOUND)
    if secret["metadata"].get("labels", {}).get(meta.ALLOW_LABEL) != "true":
        text = f"Secret {name} may not be read: it lacks the label {meta.ALLOW_LABEL}=true"
        return Finding(path, text, Reason.REF_NOT_PERMITTED)
    return None


def _elsewhere(objects: Objects, namespace: str, own: str, key: ImportedKey) -> Finding | None:
    """What another SigningKey has: one id must never mean two keys, nor one key have two owners."""
    for secret in objects.select(kinds.SECRET, namespace):
        owner = secret["metadata"].get("labels", {}).get(meta.SIGNING_KEY_LABEL)
        if owner in (None, own) or secret["metadata"]["name"] != meta.key_secret(owner):
            continue
        try:
            ledger = SigningKeyLedger.from_json(kept_secret.content(secret).get(FILE, b""))
        except (LedgerError, ValueError):
            continue  # a shell, or what its own SigningKey complains of
        if finding := held_elsewhere(key, owner, ledger):
            return finding
    return None
