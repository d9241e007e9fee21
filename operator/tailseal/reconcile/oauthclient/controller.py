"""OAuthClient: keeps its application's Secret, and tells its owner what became of it.

The controller `Bundle` takes accepted clients to the workers, by the same verdict, with the hashes that stand at the
Secret. A secret that follows another is known to every replica before it is written where the application reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tailseal.api import meta
from tailseal.api.conditions import ConditionType
from tailseal.api.findings import Finding, SpecError
from tailseal.api.oauthclient import DEFAULT_GRANT_TYPES, OAuthClientSpec
from tailseal.api.parse import parse
from tailseal.api.reasons import Reason
from tailseal.api.times import parse_time
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, Invalid
from tailseal.cluster.port import Object, Ref
from tailseal.domain.bundle.model import Settings
from tailseal.domain.clients import secrets
from tailseal.domain.clients.compile import CompiledClient, accepted, client_id_of
from tailseal.domain.clients.credentials import credentials
from tailseal.reconcile import repairs
from tailseal.reconcile.bundle.attached import provider_of
from tailseal.reconcile.bundle.attached_clients import ledger_of, placement, record_of, rival
from tailseal.reconcile.bundle.memory import Placement
from tailseal.reconcile.conditions import Fact, summarise, unrepaired, write_status
from tailseal.reconcile.context import Context, Done, Key
from tailseal.reconcile.identityprovider.refs import copied, signing_algorithms
from tailseal.reconcile.measured import UNREACHABLE
from tailseal.reconcile.oauthclient import secret as client_secret
from tailseal.reconcile.ownership import NameTaken
from tailseal.reconcile.served import everywhere, remembered_settings, served

MANAGER = client_secret.MANAGER

_SHOWN = 5
_STEP = 1.0
"""Seconds after which it is looked at again whether workers know the secret that follows."""

_RETRY = 60.0
"""Seconds after which a write that a person must clear the way for is tried again."""

_NOT_SERVED = "a client that is not accepted is not served: nobody logs in to it"
_FULL = "the IdentityProvider's list of clients is full, and this namespace takes more of it than others"
_NO_LOGINS = "nobody can log in: the IdentityProvider needs spec.tailnet, and spec.idp.enabled not false"
_OF_PEOPLE = frozenset({"authorization_code", "urn:ietf:params:oauth:grant-type:device_code"})


@dataclass(slots=True)
class _Run:
    """One reconcile: what it works on, and when to look again."""

    ctx: Context
    obj: Object
    facts: list[Fact]
    wakes: list[float]
    secret_name: str | None = None
    spoiled: str = ""


async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
    """Bring one client's Secret and status to what is true now."""
    key = Key("OAuthClient", namespace, name)
    obj = ctx.objects.get(Ref(kinds.OAUTH_CLIENT, namespace, name))
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        ctx.memory.pop(key, None)
        repairs.forget(ctx, namespace, name, kinds.OAUTH_CLIENT)
        return Done()
    run = _Run(ctx, obj, [], [])
    await _work(run, remembered_settings(ctx, *provider_of(obj)))
    fields: dict[str, Any] = {"clientID": _client_id(obj), "secretName": run.secret_name}
    await write_status(ctx, obj, unrepaired(_summary(run), run.spoiled), fields, manager=MANAGER)
    if any(fact.reason == Reason.WAITING_FOR_REPLICAS for fact in run.facts):
        run.wakes.append(UNREACHABLE + 1)  # new reports wake us; that none comes we must notice by ourselves
    if run.spoiled:
        run.wakes.append(_RETRY)
    return Done(after=min(run.wakes, default=None))


async def _work(run: _Run, settings: Settings | Fact) -> None:
    """Accepted, ResolvedRefs and Programmed; on the way the Secret, where the client may have one."""
    if isinstance(settings, Fact):
        run.facts = [
            Fact(ConditionType.ACCEPTED, None, settings.reason, settings.message),
            settings,
            Fact(ConditionType.PROGRAMMED, False, settings.reason, _NOT_SERVED),
        ]
        return
    compiled, verdict = _verdict(run.ctx, run.obj, settings)
    resolved = Fact(ConditionType.RESOLVED_REFS, True, Reason.RESOLVED, "everything that the spec names is there")
    run.facts = [verdict, resolved]
    if compiled is None or verdict.status is not True:
        run.facts.append(Fact(ConditionType.PROGRAMMED, False, verdict.reason, _NOT_SERVED))
        return
    if compiled.id_token_algorithm and (lacking := _unsigned(run.ctx, run.obj, compiled.id_token_algorithm)):
        run.facts[1] = lacking  # it stays served: people log in again as soon as there is such a key
    stuck = await _keep_secret(run, compiled, settings)
    run.facts.append(stuck or served(run.ctx, run.obj, placement(run.ctx, run.obj)))


def _verdict(ctx: Context, obj: Object, settings: Settings) -> tuple[CompiledClient | None, Fact]:
    """Accepted, by the very function by which the bundle takes a client or leaves it out."""
    compiled = accepted(record_of(obj, ledger_of(ctx.objects, obj).known()), settings)
    if not isinstance(compiled, CompiledClient):
        return None, _refused(compiled[0].reason, _text(compiled))
    _, findings = _rotate_after(obj)
    if findings:
        return None, _refused(findings[0].reason, _text(findings))
    if other := rival(ctx.objects, obj, settings):
        text = f"spec.clientID: OAuthClient {other} has it already; choose another"
        return None, _refused(Reason.CLIENT_ID_TAKEN, text)
    if placement(ctx, obj) is Placement.NO_ROOM:
        return compiled, _refused(Reason.CAPACITY_EXCEEDED, _FULL)
    return compiled, Fact(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "the spec is valid and within bounds")


def _unsigned(ctx: Context, obj: Object, algorithm: str) -> Fact | None:
    """That no key of the provider signs its ID tokens, if so."""
    namespace, name = provider_of(obj)
    active, listed = signing_algorithms(ctx.objects, namespace, name)
    if algorithm in active:
        return None
    path, who = "spec.idTokenAlgorithm", f"IdentityProvider {namespace}/{name}"
    if algorithm in listed:
        return _unresolved(
            Reason.REF_NOT_READY, f"{path}: {who} has no key of {algorithm} that signs yet", stalled=False
        )
    offer = ", ".join(sorted(active)) or "nothing yet"
    text = f"{path}: {who} has no key of {algorithm}, and signs with {offer}: choose that, or have such a key listed"
    return _unresolved(Reason.REF_NOT_FOUND, text)


async def _keep_secret(run: _Run, compiled: CompiledClient, settings: Settings) -> Fact | None:
    """Write the application's Secret; what stands in the way, where a person must act."""
    spec, name = parse("OAuthClient", run.obj, loopback=True), ""
    try:
        if not compiled.public:
            name = spec.secret_name or meta.client_secret(run.obj["metadata"]["name"])
            await _write_secret(run, spec, compiled, settings, name)
            run.secret_name = name
        await client_secret.sweep(run.ctx, run.obj, name)
    except NameTaken as error:
        return _stuck(run, Reason.NAME_TAKEN, str(error))
    except (Forbidden, Invalid) as error:
        text = f"Secret {name} cannot be kept here; the chart's clientNamespaces must name this namespace: {error}"
        return _stuck(run, Reason.FORBIDDEN, text)
    return None


async def _write_secret(
    run: _Run, spec: OAuthClientSpec, compiled: CompiledClient, settings: Settings, name: str
) -> None:
    ctx, obj = run.ctx, run.obj
    held = await client_secret.read(ctx, obj, name)
    brought, problem = _brought(ctx, obj, spec)
    if problem is not None:
        run.facts[1] = problem
        if held.obj is None:
            return
        brought = held.secret  # the last good one goes on
    planned = secrets.SecretPlan("", secrets.SecretLedger())
    if compiled.has_secret:
        planned = _plan(run, compiled.client_id, held, brought)
    data = credentials(settings.issuer, compiled.client_id, planned.secret, compiled.redirect_uris)
    run.spoiled = await client_secret.write(ctx, obj, held, name, data, planned.ledger)


def _plan(run: _Run, client_id: str, held: client_secret.Held, brought: str) -> secrets.SecretPlan:
    """The next step of the secrets; one that workers are to know first is remembered, and written nowhere."""
    ctx, obj = run.ctx, run.obj
    key = Key("OAuthClient", obj["metadata"]["namespace"], obj["metadata"]["name"])
    rotate_after, _ = _rotate_after(obj)
    seen = secrets.SecretInputs(
        client_id=client_id,
        ledger=held.ledger,
        held=held.secret,
        pending=ctx.memory.get(key, ""),
        brought=brought,
        rotate_after=rotate_after,
        served=everywhere(ctx, obj, placement(ctx, obj)),
        now=ctx.clock.now(),
    )
    planned = secrets.plan(seen, lambda: secrets.secret_of(ctx.entropy.token(secrets.SECRET_BYTES)))
    if planned.pending:
        ctx.memory[key] = planned.pending
        run.wakes.append(_STEP)
    else:
        ctx.memory.pop(key, None)
    if planned.wake_at is not None:
        run.wakes.append(max(0.0, planned.wake_at - ctx.clock.now()))
    return planned


def _brought(ctx: Context, obj: Object, spec: OAuthClientSpec) -> tuple[str, Fact | None]:
    """The secret that the owner brings, or why it is not taken; its value is in no text."""
    if spec.secret_ref is None:
        return "", None
    path, name = "spec.secretRef", spec.secret_ref.name
    found = copied(ctx.objects, obj["metadata"]["namespace"], name, ("client_secret",), path)
    for problem in found.problems:
        return "", _unresolved(problem.reason, f"{problem.path}: {problem.message}")
    secret = found.files["client_secret"].strip().decode(errors="replace")
    if why := secrets.weakness(secret):
        return "", _unresolved(Reason.REF_INVALID, f"{path}: Secret {name}: client_secret {why}")
    return secret, None


def _rotate_after(obj: Object) -> tuple[float | None, tuple[Finding, ...]]:
    text = obj["metadata"].get("annotations", {}).get(meta.ROTATE_ANNOTATION)
    try:
        return (parse_time(text) if text is not None else None), ()
    except ValueError:
        path = f"metadata.annotations[{meta.ROTATE_ANNOTATION}]"
        return None, (Finding(path, "must be an RFC 3339 time, such as 2026-12-20T10:00:00Z"),)


def _client_id(obj: Object) -> str | None:
    try:
        spec = parse("OAuthClient", obj, loopback=True)
    except SpecError:
        return None
    return client_id_of(obj["metadata"]["namespace"], obj["metadata"]["name"], spec)


def _summary(run: _Run) -> Sequence[Fact]:
    """As for every kind; but a client of people is not ready where the tailnet that they come from is missing."""
    found = summarise(run.facts)
    if any(fact.status is not True for fact in run.facts) or not _lacks_people(run.ctx, run.obj):
        return found
    unready = replace(found[-1], status=False, reason=Reason.NO_TAILNET, message=_NO_LOGINS)
    return (*run.facts, unready, replace(unready, type="Stalled", status=True))


def _lacks_people(ctx: Context, obj: Object) -> bool:
    """Whether people are to log in to it, and its provider has nowhere that they could come from."""
    provider = ctx.objects.get(Ref(kinds.IDENTITY_PROVIDER, *provider_of(obj))) or {}
    spec: dict[str, Any] = provider.get("spec") or {}
    serves = "tailnet" in spec and (spec.get("idp") or {}).get("enabled") is not False
    grants = obj["spec"].get("grantTypes") or DEFAULT_GRANT_TYPES
    return not serves and not _OF_PEOPLE.isdisjoint(grants)


def _refused(reason: Reason, message: str) -> Fact:
    return Fact(ConditionType.ACCEPTED, False, reason, message, stalled=True)


def _unresolved(reason: Reason, message: str, *, stalled: bool = True) -> Fact:
    return Fact(ConditionType.RESOLVED_REFS, False, reason, message, stalled=stalled)


def _stuck(run: _Run, reason: Reason, message: str) -> Fact:
    run.wakes.append(_RETRY)
    return Fact(ConditionType.PROGRAMMED, False, reason, message, stalled=True)


def _text(findings: Sequence[Finding]) -> str:
    more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    return "; ".join(map(str, findings[:_SHOWN])) + more
