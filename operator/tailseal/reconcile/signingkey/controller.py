"""SigningKey: looks at key Secret, issuers' ledgers and spec, plans, and moves one step.

Writes in this order: the Secret (material and ledger, one write, on top of the version that was planned from), the
ConfigMap with the public keys, status. Killed between any two of them, the next run continues.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tailseal.api.conditions import ConditionType
from tailseal.api.meta import SIGNING_KEY_LABEL, jwks_config_map, key_secret
from tailseal.api.reasons import Reason
from tailseal.cluster.errors import Forbidden, Invalid
from tailseal.cluster.kinds import CONFIG_MAP, IDENTITY_PROVIDER, SECRET, SIGNING_KEY
from tailseal.cluster.port import Object, Ref
from tailseal.domain.keys import jwks, public
from tailseal.domain.keys.handle import taken_up
from tailseal.domain.rotation import LedgerError
from tailseal.domain.rotation.ledger import FILE
from tailseal.domain.rotation.offering import Content, content, pem_file
from tailseal.domain.rotation.signingkey.ledger import SigningKeyLedger
from tailseal.domain.rotation.signingkey.plan import Issuer, SigningKeyPlan, Wish, plan, with_key
from tailseal.reconcile import kept_secret
from tailseal.reconcile.conditions import Fact, summarise, write_status
from tailseal.reconcile.context import Context, Done, Key
from tailseal.reconcile.ownership import NameTaken, ours
from tailseal.reconcile.signingkey import status as signingkey_status
from tailseal.reconcile.signingkey.inputs import Asked, asked, issuers_of, lists

MANAGER = "tailseal-signingkey"
JWKS_FILE = "jwks.json"
MAX_NEW_KEYS = 3
"""A signer and a spare are made at most in one run; one more planning finds nothing missing."""

LOOK_AGAIN = 30.0
"""Seconds after which what a person should clear away, where we cannot watch him do it, is looked at again."""

_SPOILED: Final = "what others change in it comes back in the write that undoes it, by an admission policy or webhook"
_EXEMPT: Final = "exempt the namespace from that"


@dataclass(frozen=True, slots=True)
class _Step:
    """A plan with the material that it was made for."""

    plan: SigningKeyPlan
    pems: Mapping[str, bytes]


async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
    """One step for one SigningKey; a deleted one keeps its Secret, so that nothing signed becomes invalid."""
    obj = ctx.objects.get(Ref(SIGNING_KEY, namespace, name))
    if obj is None:
        ctx.memory.pop(Key("SigningKey", namespace, name), None)
        return Done()
    ref, labels = Ref(SECRET, namespace, key_secret(name)), {SIGNING_KEY_LABEL: name}
    try:
        secret = await kept_secret.read(ctx, ref, labels)
        held = content(secret) if secret is not None else Content(None, {})
        wish = asked(ctx.objects, obj, held.ledger)
    except NameTaken as error:
        return await _stuck(ctx, obj, Reason.NAME_TAKEN, str(error))
    except LedgerError as error:
        message = f"Secret {ref.name}: {error}; nothing is changed, restore it from a backup"
        return await _stuck(ctx, obj, Reason.LEDGER_UNREADABLE, message)
    if wish.wish is None:
        return await _refused(ctx, obj, wish)
    ledger = held.ledger or await _new_ledger(ctx, obj, wish.wish)
    issuers = issuers_of(ctx, namespace, name, ledger)
    step = await _plan(ctx, obj, wish.wish, ledger, held.pems, issuers)
    try:
        await _write_secret(ctx, obj, secret, step)
    except (Forbidden, Invalid) as error:  # a name that was not foreseen, a full quota, an object made immutable
        return await _stuck(ctx, obj, Reason.FORBIDDEN, str(error))
    taken = await _write_config_map(ctx, obj, step.plan)
    for event in step.plan.events:
        await ctx.recorder.event(obj, warning=event.warning, reason=event.reason, message=event.message)
    missing = None if wish.missing is None else (*wish.missing, *step.plan.refused)
    view = signingkey_status.View(obj, step.plan, tuple(issuers), wish.refused, taken, missing)
    after = await signingkey_status.write(ctx, view, manager=MANAGER)
    again = ctx.clock.now() + LOOK_AGAIN if taken is not None else None
    wakes = [time for time in (step.plan.wake_at, after, again) if time is not None]
    return Done(after=max(0.0, min(wakes) - ctx.clock.now()) if wakes else None)


async def _plan(
    ctx: Context,
    obj: Object,
    wish: Wish,
    ledger: SigningKeyLedger,
    pems: Mapping[str, bytes],
    issuers: list[Issuer],
) -> _Step:
    """Plan, making the keys that the plan needs; nothing is written yet."""
    now, pems = ctx.clock.now(), dict(pems)
    for _ in range(MAX_NEW_KEYS):
        step = plan(wish, ledger, frozenset(pems), issuers, now)
        if not step.make or _lost_lately(ctx, obj):
            break
        for new in step.make:
            pem = await ctx.entropy.private_key(new.algorithm, new.rsa_bits or 0)
            jwk = public.public_jwk(pem, new.algorithm)
            pems[jwk["kid"]] = pem
            ledger = with_key(ledger, new, jwk, now)
            message = f"key {jwk['kid']} ({new.algorithm}) is made"
            await ctx.recorder.event(obj, warning=False, reason=Reason.KEY_CREATED, message=message)
    if wish.imported is not None and not step.refused:
        pems = taken_up(pems, wish.imported)
    return _Step(step, {kid: pem for kid, pem in pems.items() if kid in step.material})


async def _new_ledger(ctx: Context, obj: Object, wish: Wish) -> SigningKeyLedger:
    """The first ledger; where status remembers keys, the former one is lost and law 1 holds for what follows."""
    remembered = obj.get("status", {}).get("keys", [])
    revoked = {key["keyID"]: ctx.clock.now() for key in remembered if key["state"] == "Revoked"}
    if remembered:
        message = f"Secret {key_secret(obj['metadata']['name'])} is gone: a new key follows when verifiers can know it"
        await ctx.recorder.event(obj, warning=True, reason=Reason.KEY_MATERIAL_LOST, message=message)
    return SigningKeyLedger(schedule=wish.schedule, revoked=revoked, succeeds_lost=bool(remembered))


async def _write_secret(ctx: Context, obj: Object, present: Object | None, step: _Step) -> None:
    namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
    data = {FILE: step.plan.ledger.to_json()} | {pem_file(kid): pem for kid, pem in step.pems.items()}
    ref = Ref(SECRET, namespace, key_secret(name))
    written = await kept_secret.write(ctx, present, ref, {SIGNING_KEY_LABEL: name}, data, manager=MANAGER)
    if written is not present:
        if not data.keys() <= (written.get("data") or {}).keys():
            ctx.memory[_key(obj)] = ctx.clock.now()
        for provider in ctx.objects.select(IDENTITY_PROVIDER, namespace):
            if lists(provider, name):
                ctx.enqueue(Key("IdentityProvider", namespace, provider["metadata"]["name"]))
    if _lost_lately(ctx, obj):
        raise Invalid(f"Secret {ref.name}: a policy or webhook takes out of it what is written: {_EXEMPT}")


def _lost_lately(ctx: Context, obj: Object) -> bool:
    """Whether what was written came to less, not long ago: each new key would be followed by another at once."""
    return bool(0 <= ctx.clock.now() - ctx.memory.get(_key(obj), -math.inf) < kept_secret.IN_VAIN)


def _key(obj: Object) -> Key:
    return Key("SigningKey", obj["metadata"]["namespace"], obj["metadata"]["name"])


async def _write_config_map(ctx: Context, obj: Object, step: SigningKeyPlan) -> Fact | None:
    """Publish the public keys; what stands in the way, if something does."""
    try:
        if not await _publish(ctx, obj, step):
            text = f"ConfigMap {jwks_config_map(obj['metadata']['name'])}: {_SPOILED}: {_EXEMPT}"
            return _unpublished(Reason.NOT_REPAIRED, text, status=False)
    except NameTaken as error:
        return _unpublished(Reason.NAME_TAKEN, str(error), status=False)
    except (Forbidden, Invalid) as error:
        return _unpublished(Reason.FORBIDDEN, str(error), status=False)
    return None


async def _publish(ctx: Context, obj: Object, step: SigningKeyPlan) -> bool:
    """Whether the ConfigMap says it now."""
    meta = obj["metadata"]
    ref, labels = Ref(CONFIG_MAP, meta["namespace"], jwks_config_map(meta["name"])), {SIGNING_KEY_LABEL: meta["name"]}
    present = await kept_secret.read(ctx, ref, labels)
    data = {JWKS_FILE: jwks.document(step.jwks).decode()}
    owner = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
    if present is not None and _says(present, data, owner):
        return True
    wanted = {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": {
            "name": ref.name,
            "namespace": ref.namespace,
            "labels": ours(labels),
            "ownerReferences": [owner],
        },
        "data": data,
    }
    if present is None or not kept_secret.is_in_vain(ctx, wanted, present):
        present = await kept_secret.put(ctx, present, wanted, manager=MANAGER, heirs=True)
        kept_secret.note(ctx, wanted, present, right=_says(present, data, owner))
    return _says(present, data, owner)


def _says(present: Object, data: Mapping[str, str], owner: Mapping[str, object]) -> bool:
    """What others add beside our file harms nobody."""
    said: Mapping[str, str] = present.get("data") or {}
    return data.items() <= said.items() and owner in present["metadata"].get("ownerReferences", [])


async def _stuck(ctx: Context, obj: Object, reason: Reason, message: str) -> Done:
    """A person has to look; what is served and signed with goes on as it was last written."""
    accepted = Fact(ConditionType.ACCEPTED, status=True, reason=Reason.ACCEPTED)
    facts = summarise((accepted, _unpublished(reason, message, status=None)))
    await write_status(ctx, obj, facts, signingkey_status.remembered(obj), manager=MANAGER)
    return Done(after=LOOK_AGAIN)


def _unpublished(reason: Reason, message: str, *, status: bool | None) -> Fact:
    return Fact(ConditionType.PUBLISHED, status=status, reason=reason, message=message, stalled=True)


async def _refused(ctx: Context, obj: Object, wish: Asked) -> Done:
    facts = summarise((signingkey_status.accepted(wish.refused), *signingkey_status.resolved(wish.missing)))
    await write_status(ctx, obj, facts, signingkey_status.remembered(obj), manager=MANAGER)
    return Done()
