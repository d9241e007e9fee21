"""What a SigningKey's reconciler sees beside its Secret: the spec as accepted, and what issuers do with its keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tailseal.api.findings import Finding, SpecError
from tailseal.api.meta import PROVIDER_LABEL, ROTATE_ANNOTATION, issuer_secret
from tailseal.api.parse import parse
from tailseal.api.signingkey import SigningKeySpec
from tailseal.api.times import parse_time
from tailseal.api.unsupported import unsupported
from tailseal.cluster.kinds import IDENTITY_PROVIDER, SECRET
from tailseal.cluster.port import Object
from tailseal.domain.keys.imported import ImportedKey
from tailseal.domain.rotation import IssuedKey, LedgerError
from tailseal.domain.rotation.issuer.plan import full
from tailseal.domain.rotation.signingkey.importing import names
from tailseal.domain.rotation.signingkey.ledger import Schedule, SigningKeyLedger
from tailseal.domain.rotation.signingkey.plan import Issuer, Usage, Wish
from tailseal.domain.rotation.usage import usage_of
from tailseal.reconcile.context import Context, Objects
from tailseal.reconcile.issuer_ledger import state_of
from tailseal.reconcile.signingkey.imported import import_of


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done, and what of the spec was refused.

    Args:
        wish: None if nothing was ever accepted.
        refused: while there are any, the last accepted schedule goes on.
        missing: what stands in the way of the key to import; the same holds. None if none is to be imported.
    """

    wish: Wish | None
    refused: tuple[Finding, ...]
    missing: tuple[Finding, ...] | None = None


def asked(objects: Objects, obj: Object, ledger: SigningKeyLedger | None) -> Asked:
    """The present wish; revocations count even in a spec that is refused otherwise."""
    rotate_after, refused = _rotate_after(obj)
    schedule = ledger.schedule if ledger is not None else None
    imported, missing = None, None
    try:
        spec = parse("SigningKey", obj)
    except SpecError as error:
        refused = (*error.findings, *refused)
    else:
        later = unsupported(spec)
        refused = (*later, *refused)
        imported, missing = (None, None) if later else import_of(objects, obj, spec)
        schedule = schedule if later or missing else _schedule(spec)
    if schedule is None:
        return Asked(None, refused, missing)
    namespace = obj["metadata"]["namespace"]
    revoked = revoked_ids(obj).union(_revoked_by_issuers(objects, namespace, ledger, imported))
    return Asked(Wish(schedule, rotate_after, revoked, imported), refused, missing)


def lists(provider: Object, signing_key: str) -> bool:
    """Whether the IdentityProvider lists the SigningKey."""
    return any(ref.get("name") == signing_key for ref in provider.get("spec", {}).get("signingKeys") or ())


def issuers_of(ctx: Context, namespace: str, name: str, ledger: SigningKeyLedger) -> list[Issuer]:
    """Every provider of the namespace that lists the SigningKey, or still promises something for one of its keys."""
    providers = {obj["metadata"]["name"]: obj for obj in ctx.objects.select(IDENTITY_PROVIDER, namespace)}
    ledgers = {
        secret["metadata"]["labels"][PROVIDER_LABEL]: secret
        for secret in ctx.objects.select(SECRET, namespace)
        if _is_issuer(secret)
    }
    found = []
    for provider in sorted(providers.keys() | ledgers.keys()):
        listed = provider in providers and lists(providers[provider], name)
        usage = _usage(ledgers.get(provider), name, ledger, ctx.clock.now(), orphan=provider not in providers)
        if listed or usage:
            found.append(Issuer(provider, listed, usage, _full(ledgers.get(provider))))
    return found


def _schedule(spec: SigningKeySpec) -> Schedule:
    return Schedule(
        algorithm=spec.algorithm,
        rsa_bits=spec.rsa_bits,
        interval=spec.rotation.interval,
        publish_lead=spec.rotation.publish_lead,
        max_age=spec.jwks.max_age,
        clock_skew=spec.clock_skew,
        spare=spec.rotation.spare,
        sign_now=spec.rotation.on_revoke_without_spare == "SignNow",
        imported=spec.brought,
    )


def _rotate_after(obj: Object) -> tuple[float | None, tuple[Finding, ...]]:
    text = obj["metadata"].get("annotations", {}).get(ROTATE_ANNOTATION)
    if text is None:
        return None, ()
    try:
        return parse_time(text), ()
    except ValueError:
        path = f"metadata.annotations[{ROTATE_ANNOTATION}]"
        return None, (Finding(path, "must be an RFC 3339 time, such as 2026-12-20T10:00:00Z"),)


def revoked_ids(obj: Object) -> frozenset[str]:
    """`spec.revokedKeyIDs`, whatever else is wrong with the spec, and what status remembers of a shortened list."""
    ids: Any = obj.get("spec", {}).get("revokedKeyIDs")
    listed = [kid for kid in ids if isinstance(kid, str)] if isinstance(ids, list) else []
    said = [key["keyID"] for key in obj.get("status", {}).get("keys", ()) if key.get("state") == "Revoked"]
    return frozenset((*listed, *said))


def _revoked_by_issuers(
    objects: Objects, namespace: str, ledger: SigningKeyLedger | None, imported: ImportedKey | None
) -> Iterable[str]:
    """Ids of own keys that an issuer's ledger has as revoked: it may know of it when ours came from a backup."""
    own = {name for key in ledger.keys for name in names(key.kid, key.public_jwk)} if ledger is not None else set()
    own |= names(imported.kid, imported.public_jwk) if imported is not None else set()
    for secret in objects.select(SECRET, namespace):
        if _is_issuer(secret):
            try:
                yield from own & state_of(secret).ledger.revoked.keys()
            except LedgerError:
                continue  # its provider says so


def _is_issuer(secret: Object) -> bool:
    metadata = secret["metadata"]
    provider = metadata.get("labels", {}).get(PROVIDER_LABEL)
    return provider is not None and metadata["name"] == issuer_secret(provider)


def _usage(
    secret: Object | None, name: str, ledger: SigningKeyLedger, now: float, *, orphan: bool
) -> Mapping[str, Usage]:
    """What the issuer's ledger says of this SigningKey's keys.

    A ledger that cannot be read may promise anything; one whose provider is gone promises what it can until its
    leases end, since nobody extends them.
    """
    if secret is None or not secret.get("data"):
        return {}
    try:
        issuer = state_of(secret).ledger
    except LedgerError:
        return {key.kid: Usage(served_at=None, active=False) for key in ledger.keys}
    if orphan:
        return dict(_orphaned((key for key in issuer.keys if key.source == name), now))
    return usage_of(issuer, name)


def _full(secret: Object | None) -> str:
    """Why the issuer takes no new key up; empty if it does, or is not to be read."""
    try:
        return full(state_of(secret).ledger) if secret is not None and secret.get("data") else ""
    except LedgerError:
        return ""


def _orphaned(issued: Iterable[IssuedKey], now: float) -> Iterable[tuple[str, Usage]]:
    for key in issued:
        due = key.but(dropped_at=key.dropped_at or now).remove_at
        if due is not None and due > now:
            yield key.kid, Usage(served_at=None, active=False, remove_at=due)
