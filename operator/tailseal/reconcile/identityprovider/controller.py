"""IdentityProvider: from its spec, keys and references to everything it owns, and back to what its replicas serve.

Order of writes: the issuer's ledger, the signing Secret that follows from it, the copies of what the spec refers to,
the workloads, status last. Each is idempotent and planned from what is there, so any prefix of them is a fine state.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, Invalid, Transient
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.domain import canonical
from tailseal.domain.bundle import build, model, narrow, versions
from tailseal.domain.render import bundle as render
from tailseal.domain.render.common import COMPONENTS, Component, Provider, decoded
from tailseal.domain.rotation import IssuerPlan, IssuerSpec, LedgerError, plan_issuer, remembered
from tailseal.domain.rotation.issuer.recover import recovered
from tailseal.reconcile.bundle import attached_policies
from tailseal.reconcile.conditions import Fact, summarise, write_status
from tailseal.reconcile.context import Context, Done, Key
from tailseal.reconcile.identityprovider import turns
from tailseal.reconcile.identityprovider import workers as provider_workers
from tailseal.reconcile.identityprovider.database import shared_state
from tailseal.reconcile.identityprovider.nodes import claimed
from tailseal.reconcile.identityprovider.refs import Problem, certificate, credentials, selected, signing_keys
from tailseal.reconcile.identityprovider.spec import intent_of
from tailseal.reconcile.identityprovider.status import LOOK_AGAIN, MANAGER, Seen, report
from tailseal.reconcile.identityprovider.tailnet import joining
from tailseal.reconcile.identityprovider.withdrawal import withdraw
from tailseal.reconcile.issuer_ledger import load_or_create, save
from tailseal.reconcile.owned import differs, ensure, remove
from tailseal.reconcile.ownership import RENAME, Leaving, NameTaken
from tailseal.reconcile.publish import seen as publish_seen
from tailseal.reconcile.repairs import forget, in_vain, made

T = TypeVar("T")


@dataclass(slots=True)
class _Run:
    """One reconcile: what it works on, and what stood in its way."""

    ctx: Context
    obj: Object
    provider: Provider
    spec: IdentityProviderSpec
    stuck: list[Fact] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    leaving: list[Leaving] = field(default_factory=list)

    async def attempt(self, step: Awaitable[T]) -> T | None:
        """The step's result; where a person must act, it is noted and the other steps go on."""
        try:
            return await step
        except Leaving as error:
            self.leaving.append(error)
        except NameTaken as error:
            self._note(Reason.NAME_TAKEN, str(error))
        except LedgerError as error:
            self._note(Reason.LEDGER_UNREADABLE, f"Secret {meta.issuer_secret(self.provider.name)}: {error}")
        except (Forbidden, Invalid) as error:
            self._note(Reason.FORBIDDEN, str(error))
        return None

    async def ensure(
        self, wanted: Object, *, exact: bool = False, seen: Object | None = None, remedy: str = RENAME
    ) -> Object | None:
        """Bring one owned object to what it should be; None: something stood in the way."""
        return await self.attempt(ensure(self.ctx, wanted, manager=MANAGER, exact=exact, seen=seen, remedy=remedy))

    def _note(self, reason: Reason, message: str) -> None:
        self.stuck.append(Fact("Programmed", status=False, reason=reason, message=message, stalled=True))


async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
    """One step of one IdentityProvider towards its spec, and its status as measured."""
    key = Key("IdentityProvider", namespace, name)
    obj = ctx.objects.get(Ref(kinds.IDENTITY_PROVIDER, namespace, name))
    # One that somebody's finalizer holds is still served, so keys are still revoked and leases extended.
    if obj is None:
        ctx.memory.pop(key, None)
        forget(ctx, namespace, name)
        return Done()
    intent = intent_of(ctx.objects, obj)
    if intent.spec is None:
        await withdraw(ctx, obj, Provider(namespace, name, obj["metadata"]["uid"]), manager=MANAGER)
        await write_status(ctx, obj, summarise([intent.verdict]), {}, manager=MANAGER)
        return Done(after=LOOK_AGAIN)
    run = _Run(ctx, obj, Provider(namespace, name, obj["metadata"]["uid"]), intent.spec)
    if intent.accepted:
        await run.ensure(render.accepted(run.provider, canonical.dumps(obj["spec"])))
    gathered = await attached_policies.latest(ctx, obj, intent.spec)
    if attached_policies.readable(ctx, namespace, name) != versions.named(gathered.settings):
        ctx.enqueue(Key("Bundle", namespace, name))
    plan = await _sign_or_withdraw(run, gathered.longest_ttl)
    await _copy_references(run)
    for component in COMPONENTS:
        await _run_workers(run, component)
    for error in run.leaving:
        run.stuck.append(Fact("Programmed", status=False, reason=Reason.BEING_DELETED, message=str(error)))
    seen = Seen(intent, plan, run.problems, run.stuck, gathered.attached)
    due = [await report(ctx, obj, intent.spec, seen)]
    for error in run.leaving:
        raise error  # tried again soon: nobody tells when a finalizer lets go
    if plan is not None and plan.wake_at is not None:
        due.append(max(0.0, plan.wake_at - ctx.clock.now()))
    return Done(after=min((after for after in due if after is not None), default=None))


async def _sign_or_withdraw(run: _Run, longest_ttl: int) -> IssuerPlan | None:
    """The plan; where there can be none, revoked keys leave all the same."""
    try:
        plan = await run.attempt(_sign(run, longest_ttl))
    except Transient:  # also a ledger that somebody deletes and a finalizer holds
        await run.attempt(withdraw(run.ctx, run.obj, run.provider, manager=MANAGER))
        raise
    if plan is None:
        await run.attempt(withdraw(run.ctx, run.obj, run.provider, manager=MANAGER))
    return plan


async def _sign(run: _Run, longest_ttl: int) -> IssuerPlan:
    """Plan the issuer's keys, write the ledger, then the signing Secret that follows from exactly that ledger."""
    ctx, provider, spec = run.ctx, run.provider, run.spec
    state = await load_or_create(ctx, provider.namespace, provider.name, spec.issuer)
    offered = signing_keys(ctx.objects, provider.namespace, spec, state.ledger.sources())
    run.problems += offered.problems
    seen = ctx.objects.get(Ref(kinds.SECRET, provider.namespace, meta.signing_secret(provider.name)))
    former = decoded(seen.get("data")) if seen is not None else {}
    pems = dict(_held(former))
    # The keys of the first set need no wait; one that came a second later would have to wait for every cache.
    unborn = not (former or state.ledger.served or state.ledger.keys)
    keys = () if unborn and offered.awaited else offered.keys
    wanted = IssuerSpec(
        order=tuple(reference.name for reference in spec.signing_keys),
        longest_ttl=max(spec.tokens.access_token_ttl, spec.tokens.id_token_ttl, longest_ttl),
        clock_skew=spec.tokens.clock_skew,
        copy_age=publish_seen.copy_age(spec, state.ledger.max_age),
    )
    copies = publish_seen.copies(ctx, provider.namespace, provider.name, spec)
    now, replicas = ctx.clock.now(), ctx.replicas.of(provider.namespace, provider.name)
    ledger = recovered(state.ledger, narrow.read(former), keys, wanted, replicas, now)
    plan = plan_issuer(wanted, ledger, remembered(ledger, keys, pems.keys()), replicas, now, copies)
    state = await save(ctx, state, plan.ledger)
    # Without any key the workers stay unready: so the first key belongs to the first set that anybody sees.
    if plan.published or former:
        files = build.signing_of(spec.issuer, plan, {**pems, **offered.pems}, state.poll_key, state.salt)
        await run.ensure(render.signing(provider, files), exact=True, seen=seen)
    for event in plan.events:
        await ctx.recorder.event(run.obj, warning=event.warning, reason=event.reason, message=event.message)
    return plan


def _held(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Key id and PEM of every key in the signing Secret as it is there."""
    try:
        held = json.loads(files.get(model.SIGNING_FILE, b"{}")).get("held", ())
        yield from ((key["kid"], files[key["file"]]) for key in held if key["file"] in files)
    except (ValueError, KeyError, TypeError, AttributeError):
        return


async def _copy_references(run: _Run) -> None:
    ctx, provider = run.ctx, run.provider
    copied = credentials(ctx.objects, provider.namespace, provider.name, run.spec)
    state = shared_state(ctx.objects, provider.namespace, provider.name, run.spec)
    run.problems += (*copied.problems, *state.problems, *selected(ctx.objects, run.spec))
    await run.ensure(render.credentials(provider, {**copied.files, **state.files}))
    joins = joining(ctx.objects, provider.namespace, provider.name, run.spec)
    if joins is None:
        await run.attempt(_remove(run, kinds.SECRET, meta.tailnet_secret(provider.name)))
    else:
        run.problems += joins.problems
        await run.ensure(render.tailnet(provider, joins.files))
    served = certificate(ctx.objects, provider.namespace, provider.name, run.spec)
    if served is None:
        await run.attempt(_remove(run, kinds.SECRET, meta.tls_secret(provider.name)))
        return
    run.problems += served.problems
    if served.files:
        # Who makes the certificate's Secret likes to call it so.
        remedy = f"{RENAME}: it is that of the workers' copy of spec.serving.tls.secretRef"
        await run.ensure(render.tls(provider, served.files), remedy=remedy)


async def _run_workers(run: _Run, component: Component) -> None:
    """The objects of one component, or none of them where it is switched off."""
    nodes = claimed(run.ctx, run.provider, run.spec)
    objects = provider_workers.wanted(run.provider, component, run.spec, run.ctx.settings, nodes)
    other, known, vain = partial(differs, run.ctx), partial(made, run.ctx), partial(in_vain, run.ctx)
    for ref in list(turns.unwanted(run.provider, component, run.ctx.objects, objects, other, vain)):
        await run.attempt(_remove(run, ref.kind, ref.name))
    for wanted in turns.due(run.ctx.objects, objects, other, known, vain):
        if await run.ensure(wanted) is None and turns.is_of_a_node(run.provider, wanted):
            return  # somebody else's, or forbidden: nobody is given a right to it, and no pod is made with it


async def _remove(run: _Run, kind: Kind, name: str) -> bool:
    return await remove(run.ctx, Ref(kind, run.provider.namespace, name), provider=run.provider.name)
