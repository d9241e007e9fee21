"""The clients' part of the volume `policies`: one ConfigMap, written before the manifest that names it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping

from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, Invalid
from tailseal.cluster.port import Ref
from tailseal.domain import canonical
from tailseal.domain.bundle import build, model
from tailseal.domain.clients.admission import uid_of
from tailseal.domain.clients.compile import CompiledClient, accepted
from tailseal.domain.render import bundle as render
from tailseal.domain.render.common import Provider, decoded
from tailseal.reconcile.bundle.attached import attached_versions
from tailseal.reconcile.bundle.memory import BundleMemory, ClientsContent
from tailseal.reconcile.context import Context, Key, Objects
from tailseal.reconcile.owned import ensure, remove
from tailseal.reconcile.ownership import Leaving, NameTaken

MANAGER = "tailseal-bundle"


async def write(ctx: Context, provider: Provider, content: bytes, named: str) -> tuple[bytes, Exception | None]:
    """Write the file; what the manifest may name now, and why it is not all of it.

    Where it cannot be written, the present one stays if nothing in it was taken away or changed; else there are no
    clients until it can.

    Args:
        ctx: the ports.
        provider: whose.
        content: of the file; empty: there is none.
        named: the digest in the present manifest.
    """
    if not content:
        return b"", None
    try:
        await ensure(ctx, render.clients(provider, content), manager=MANAGER)
    except (NameTaken, Forbidden, Invalid, Leaving) as error:
        present = _present(ctx.objects, provider.namespace, provider.name)
        wanted = {str(record) for record in _records(content)}
        still = present and canonical.digest(present) == named and {str(each) for each in _records(present)} <= wanted
        return (present if still else b""), error
    return content, None


async def clear(ctx: Context, provider: Provider, content: bytes) -> None:
    """Delete the object where there are no clients any more: after the manifest that no longer names it."""
    if not content:
        ref = Ref(kinds.CONFIG_MAP, provider.namespace, meta.clients_config_map(provider.name))
        await remove(ctx, ref, provider=provider.name)


def present(objects: Objects, provider: Provider, named: str) -> bytes:
    """The written file, if it is the one of that digest."""
    content = _present(objects, provider.namespace, provider.name)
    return content if content and canonical.digest(content) == named else b""


def withdrawn(objects: Objects, provider: Provider, named: str) -> bytes:
    """The written file without what was deleted or changed since: all that may be judged without a spec."""
    present = _present(objects, provider.namespace, provider.name)
    if canonical.digest(present) != named:
        return b""
    current = attached_versions(objects, kinds.OAUTH_CLIENT, provider.namespace, provider.name)
    records = _records(present)
    kept = [record for record in records if current.get(record.id) == (uid_of(record.uid), record.generation)]
    return present if len(kept) == len(records) else build.clients(kept)[0]


def admissions(objects: Objects, namespace: str, name: str) -> dict[str, str]:
    """Those that workers have been told of; a client that the written settings refuse has lost its own.

    The file counts while a manifest names one, also where it is not this one: an operator that dies between the two
    ends nobody's login. Where the manifest names none, clients were all withdrawn, or none was ever served. Where there
    is no manifest, the provider was deleted, and what outlived it counts.
    """
    records = _records(_present(objects, namespace, name))
    policies = objects.get(Ref(kinds.CONFIG_MAP, namespace, meta.policies_config_map(name)))
    if policies is None:
        return {record.id: record.uid for record in records}
    data: Mapping[str, str] = policies.get("data") or {}
    try:
        named = model.Manifest.model_validate_json(data.get(model.MANIFEST_FILE, "")).clients
        settings = model.Settings.model_validate_json(data.get(model.SETTINGS_FILE, ""))
    except ValueError:
        return {}
    return {
        record.id: record.uid
        for record in (records if named else ())
        if isinstance(accepted(record, settings), CompiledClient)
    }


def announce(ctx: Context, memory: BundleMemory, gathered: ClientsContent) -> None:
    """Wake the clients whose place in the bundle changed: their status tells of it."""
    former: Mapping[str, object] = memory.client_places
    memory.client_places = present = gathered.places
    for client in sorted(former.keys() | present.keys()):
        if former.get(client) != present.get(client):
            ctx.enqueue(Key("OAuthClient", *client.split("/", 1)))


def _present(objects: Objects, namespace: str, name: str) -> bytes:
    found = objects.get(Ref(kinds.CONFIG_MAP, namespace, meta.clients_config_map(name)))
    return decoded((found or {}).get("binaryData")).get(model.CLIENTS_FILE, b"")


def _records(content: bytes) -> list[model.ClientRecord]:
    """The clients in a file; none if it cannot be read, as no worker can either."""
    try:
        clients = model.Clients.model_validate_json(gzip.decompress(content)).clients
        return [model.ClientRecord.model_validate(record) for record in clients]
    except (OSError, EOFError, zlib.error, ValueError):
        return []
