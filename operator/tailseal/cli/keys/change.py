"""Asks a cluster for another signer, or revokes a key, and prints the edit that Git needs so as not to undo it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import yaml

from tailseal.api.durations import parse_duration
from tailseal.api.meta import ROTATE_ANNOTATION
from tailseal.api.times import format_time
from tailseal.cli.cluster import Where, ask, signing_keys
from tailseal.cli.errors import Failure
from tailseal.cli.keys.found import only
from tailseal.cli.output import printable
from tailseal.cluster.errors import Conflict
from tailseal.cluster.kinds import IDENTITY_PROVIDER, SIGNING_KEY
from tailseal.cluster.port import Ref
from tailseal.domain.poke import FRESH

if TYPE_CHECKING:
    from tailseal.cluster.port import Cluster, Object

MOST_REVOKED: Final = 64
"""As the CRD allows."""

_TRIES: Final = 5
_PRESENT: Final = ("Pending", "Published", "Active", "Retiring")


def rotate(where: Where, name: str) -> None:
    """Set the annotation that asks for a signer made from now on."""
    found = only(ask(where, lambda cluster: signing_keys(cluster, where.namespace)), name, where.namespace)
    source = _brought(found)
    if source:
        raise Failure(
            f"the keys of SigningKey {_name(found)} are brought, so nobody but their owner can make the next one",
            hint=f"bring another key by spec.source.{source}: it follows by itself",
        )
    asked = {"metadata": {"annotations": {ROTATE_ANNOTATION: format_time(datetime.now(UTC).timestamp())}}}
    ask(where, lambda cluster: cluster.merge(_ref(found), asked))
    _say(f"SigningKey {_name(found)}: a new signer is asked for.")
    _say("It signs once every replica has it and every cache can know it; no token fails meanwhile.")
    _git(found, asked)


def revoke(where: Where, name: str, kid: str, *, yes: bool) -> None:
    """Put the key on the list of those that must neither sign nor be published, after asking."""

    async def look(cluster: Cluster) -> tuple[Object, list[str]]:
        found = only(await signing_keys(cluster, where.namespace), name, where.namespace)
        providers = cluster.list(IDENTITY_PROVIDER, found["metadata"]["namespace"])
        return found, [obj["spec"].get("issuer", "") async for obj in providers if _lists(obj, name)]

    found, issuers = ask(where, look)
    state = _state(found, kid)
    if state != "Revoked":
        for line in _consequences(found, kid, state, issuers):
            _say(line)
        if not yes:
            click.confirm(f"\nRevoke key {kid} for ever?", abort=True, err=True)
    ids = ask(where, lambda cluster: _revoked(cluster, _ref(found), kid))
    _say(
        f"SigningKey {_name(found)}: key {kid} is revoked; `tailseal keys show {name}` says when it is out everywhere."
    )
    _git(found, {"spec": {"revokedKeyIDs": ids}})


async def _revoked(cluster: Cluster, ref: Ref, kid: str) -> list[str]:
    """The list with the key on it, written on top of exactly the version that was read."""
    for _ in range(_TRIES):
        obj = await cluster.get(ref)
        if obj is None:
            raise Failure(f"SigningKey {ref.namespace}/{ref.name} was deleted meanwhile")
        ids: list[str] = obj["spec"].get("revokedKeyIDs") or []
        if kid in ids:
            return ids
        if len(ids) >= MOST_REVOKED:
            text = f"spec.revokedKeyIDs of SigningKey {ref.namespace}/{ref.name} is full"
            raise Failure(text, hint="take old ids off it: what was revoked once stays revoked")
        version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        try:
            await cluster.merge(ref, {"metadata": version, "spec": {"revokedKeyIDs": [*ids, kid]}})
        except Conflict:
            continue
        return [*ids, kid]
    raise Failure(f"SigningKey {ref.namespace}/{ref.name} changes all the time", hint="try again")


def _state(obj: Object, kid: str) -> str:
    keys: Sequence[Mapping[str, str]] = (obj.get("status") or {}).get("keys", ())
    state = next((entry["state"] for entry in keys if entry["keyID"] == kid), None)
    if state is not None:
        return state
    present = ", ".join(entry["keyID"] for entry in keys if entry["state"] in _PRESENT) or "none"
    raise Failure(
        f"SigningKey {_name(obj)} has no key {printable(kid)}; its keys: {present}",
        hint="to bar a key that was never here, add its id to spec.revokedKeyIDs by hand",
    )


def _consequences(obj: Object, kid: str, state: str, issuers: Sequence[str]) -> list[str]:
    """What law 6 means here, before it is too late."""
    lines = [
        f"Revoking key {kid} ({state}) of SigningKey {_name(obj)} takes effect at once and for ever:",
        "  - Every token that it signed stops to verify, for whoever fetches the key set again.",
        f"  - A verifier that cached the key set accepts them until its cache ends (jwks.maxAge: {_max_age(obj)});",
        "    nobody can reach into it.",
        "  - A kube-apiserver that trusts the issuer keeps the key until it is made to fetch again, by this command:",
    ]
    lines += [f"    {_poke(obj, issuer)}" for issuer in issuers]
    if state == "Active":
        lines.append(f"  - {_successor(obj, kid)}")
    return lines


def _poke(obj: Object, issuer: str) -> str:
    age = parse_duration(_max_age(obj))
    wait = f" --wait {age - FRESH}s" if age > FRESH else ""
    return f"tailseal keys poke --issuer {printable(issuer)} --audience AUDIENCE{wait}"


def _successor(obj: Object, kid: str) -> str:
    keys: Sequence[Mapping[str, str]] = (obj.get("status") or {}).get("keys", ())
    spare = next((entry["keyID"] for entry in keys if entry["state"] == "Published" and entry["keyID"] != kid), None)
    if spare is not None:
        return f"It signs now. Key {spare} is published already and follows it."
    if _brought(obj):
        return "It signs now. Nothing signs after it until you bring another key."
    if (obj["spec"].get("rotation") or {}).get("onRevokeWithoutSpare") == "Stop":
        return "It signs now, and no other is ready: nothing signs until verifiers can know the next one."
    return "It signs now, and no other is ready: a new key signs at once, which caches may not know yet."


def _max_age(obj: Object) -> str:
    return str((obj["spec"].get("jwks") or {}).get("maxAge", "5m"))


def _brought(obj: Object) -> str:
    source = obj["spec"].get("source") or {}
    return next((member for member in ("import", "pkcs11") if source.get(member)), "")


def _lists(provider: Object, name: str) -> bool:
    return any(ref.get("name") == name for ref in provider["spec"].get("signingKeys") or ())


def _ref(obj: Object) -> Ref:
    return Ref(SIGNING_KEY, obj["metadata"]["namespace"], obj["metadata"]["name"])


def _name(obj: Object) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _git(obj: Object, edit: Mapping[str, Any]) -> None:
    """The same edit as a manifest: data, so it goes to standard output."""
    name = {"name": obj["metadata"]["name"], "namespace": obj["metadata"]["namespace"]}
    metadata = {**name, **edit.get("metadata", {})}
    manifest = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **edit, "metadata": metadata}
    manifest = {member: manifest[member] for member in ("apiVersion", "kind", "metadata", "spec") if member in manifest}
    _say("\nIf this SigningKey is kept in Git, make the same edit there, or it may be taken back:\n")
    click.echo(yaml.safe_dump(manifest, sort_keys=False).rstrip())


def _say(text: str) -> None:
    click.echo(text, err=True)
