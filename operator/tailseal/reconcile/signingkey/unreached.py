"""Which verifiers a revocation does not reach: those that have the key in a cache, which only they can clear.

Nobody can see who they are, so it is said of kinds of verifiers: until when those that heed Cache-Control may have the
key, and what makes a kube-apiserver let go of it, which it never does by itself. It is said for as long as the key's id
is on the list: taking it off, which changes nothing for the key, is how a person says that all of it is done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from tailseal.api.conditions import ConditionType
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.meta import issuer_secret
from tailseal.api.reasons import Reason
from tailseal.api.times import format_time
from tailseal.cluster.kinds import IDENTITY_PROVIDER, SECRET
from tailseal.cluster.port import Object, Ref
from tailseal.domain.poke import FRESH
from tailseal.domain.rotation import LedgerError
from tailseal.domain.rotation.signingkey.ledger import KeyRecord, SigningKeyLedger
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Objects
from tailseal.reconcile.identityprovider.spec import intent_of
from tailseal.reconcile.issuer_ledger import state_of
from tailseal.reconcile.publish.seen import cache_ttl
from tailseal.reconcile.signingkey.inputs import lists

_MOST: Final = 3
"""Keys, and issuers, that are named."""


def unreached(ctx: Context, obj: Object, ledger: SigningKeyLedger) -> Fact | None:
    """The condition; None where no key was revoked that verifiers could have."""
    listed = (obj.get("spec") or {}).get("revokedKeyIDs") or ()
    gone = [key for key in ledger.keys if key.revoked_at is not None and key.kid in listed]
    specs = list(_specs(ctx, obj, {key.kid for key in gone})) if gone else []
    if not specs:
        return None
    max_age = ledger.schedule.max_age
    copied = max((cache_ttl(each, max_age) for spec in specs for each in spec.publish), default=0)
    message = f"{_caches(gone, max(max_age, copied))}; {_api_servers([spec.issuer for spec in specs], max_age)}"
    return Fact(ConditionType.VERIFIERS_UNREACHED, status=True, reason=Reason.CACHES_OUT_OF_REACH, message=message)


def _specs(ctx: Context, obj: Object, gone: Collection[str]) -> Iterator[IdentityProviderSpec]:
    """Of the providers that list the SigningKey, or did when its keys were revoked."""
    metadata = obj["metadata"]
    for provider in ctx.objects.select(IDENTITY_PROVIDER, metadata["namespace"]):
        spec = intent_of(ctx.objects, provider).spec
        if spec is not None and (lists(provider, metadata["name"]) or _had(ctx.objects, provider, gone)):
            yield spec


def _had(objects: Objects, provider: Object, gone: Collection[str]) -> bool:
    """Whether the issuer's ledger knows of the revocation; one that cannot be read may."""
    metadata = provider["metadata"]
    secret = objects.get(Ref(SECRET, metadata["namespace"], issuer_secret(metadata["name"])))
    if secret is None or not secret.get("data"):
        return False
    try:
        return not state_of(secret).ledger.revoked.keys().isdisjoint(gone)
    except LedgerError:
        return True


def _caches(gone: Iterable[KeyRecord], max_age: int) -> str:
    latest = sorted(gone, key=lambda key: key.revoked_at or 0.0, reverse=True)
    ids = ", ".join(key.kid for key in latest[:_MOST]) + (f" and {len(latest) - _MOST} more" if latest[_MOST:] else "")
    until = format_time((latest[0].revoked_at or 0.0) + max_age)
    return f"revoked: {ids}. Who fetched the key set before may hold it until {until} (jwks.maxAge, cacheTTL)"


def _api_servers(issuers: list[str], max_age: int) -> str:
    wait = f" --wait {max_age - FRESH}s" if max_age > FRESH else ""
    commands = "; ".join(f"tailseal keys poke --issuer {each} --audience AUDIENCE{wait}" for each in issuers[:_MOST])
    return (
        f"a kube-apiserver that trusts the issuer keeps it until it is made to fetch: run, for each, `{commands}`. "
        "Take the ids off spec.revokedKeyIDs once that is done: they stay revoked"
    )
