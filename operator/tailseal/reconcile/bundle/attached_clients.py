"""Gathers the OAuthClients that a provider serves, as the file that its bundle should hold, and where each stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tailseal.api.meta import CLIENT_LEDGER_ANNOTATION, MANAGED_BY, MANAGER, OAUTH_CLIENT_LABEL
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.domain import canonical
from tailseal.domain.bundle import build, model
from tailseal.domain.clients.compile import CompiledClient, accepted, chosen_ids
from tailseal.domain.clients.secrets import SecretLedger
from tailseal.reconcile.bundle.attached import BundleMemory, Placement, provider_of
from tailseal.reconcile.context import Context, Key, Objects

Version = tuple[str, int, tuple[model.ClientSecret, ...]]
"""uid, generation and hashes."""


@dataclass(frozen=True, slots=True)
class ClientsContent:
    """The clients' file as it should be.

    Args:
        made_from: what it follows from: while that is the same, so is the rest.
        content: of the file; empty if there are no clients.
        places: by id, the version that it holds, or that there is no room for it.
        chosen: client ids of those that it holds, but for ids that are made from names.
    """

    made_from: object = None
    content: bytes = b""
    places: Mapping[str, Version | Placement] = field(default_factory=dict)
    chosen: frozenset[str] = frozenset()


def gather(
    objects: Objects, provider: Object, settings: model.Settings, known: ClientsContent | None
) -> ClientsContent:
    """What the file should hold: eldest first, so that of two with one client id the first counts."""
    clients = attached(objects, provider["metadata"]["namespace"], provider["metadata"]["name"])
    records = [record_of(client, ledger_of(objects, client).known()) for client in clients]
    about = canonical.digest(build.settings_file(settings))
    made_from = (about, tuple((record.namespace, record.name, *version_of(record)) for record in records))
    if known is not None and made_from == known.made_from:
        return known
    # Whether one may be served depends on whose ids are taken, and these on who may be: what is first, reserves.
    reserved = settings.model_copy(update={"client_ids": chosen_ids(_usable(records, settings))})
    usable = list(_usable(records, reserved))
    content, refused = build.clients(usable, settings.namespace)
    places: dict[str, Version | Placement] = {_id(record): version_of(record) for record in usable}
    places |= dict.fromkeys(map(_id, refused), Placement.NO_ROOM)
    left_out = {_id(record) for record in refused}
    return ClientsContent(
        made_from, content, places, chosen_ids(record for record in usable if _id(record) not in left_out)
    )


def placement(ctx: Context, client: Object) -> Placement:
    """Where the client, with its secrets of now, stands in the bundle that was last written for its provider."""
    memory: BundleMemory | None = ctx.memory.get(Key("Bundle", *provider_of(client)))
    place = memory.client_places.get(id_of(client), Placement.ABSENT) if memory else Placement.ABSENT
    if isinstance(place, Placement):
        return place
    now = version_of(record_of(client, ledger_of(ctx.objects, client).known()))
    return Placement.HELD if place == now else Placement.ABSENT


def rival(objects: Objects, client: Object, settings: model.Settings) -> str:
    """The client that was first with the same client id at the provider, if that is another one."""
    named = client.get("spec", {}).get("clientID")
    if named is None:  # those that are made from names are nobody else's
        return ""
    for other in attached(objects, *provider_of(client)):
        if id_of(other) == id_of(client):
            return ""
        same = other.get("spec", {}).get("clientID") == named
        if same and isinstance(accepted(record_of(other, ()), settings), CompiledClient):
            return id_of(other)
    return ""


def attached(objects: Objects, namespace: str, name: str) -> list[Object]:
    """Every client that names the provider, whether it may be served or not, eldest first."""
    found = [
        client
        for client in objects.select(kinds.OAUTH_CLIENT)
        if provider_of(client) == (namespace, name) and "deletionTimestamp" not in client["metadata"]
    ]
    return sorted(found, key=lambda client: (client["metadata"].get("creationTimestamp", ""), id_of(client)))


def ledger_of(objects: Objects, client: Object) -> SecretLedger:
    """What is known of the client's secrets; nothing where its Secret is not written yet."""
    for secret in secrets_of(objects, client):
        if (ledger := read_ledger(secret)).current:
            return ledger
    return SecretLedger()


def secrets_of(objects: Objects, client: Object) -> Iterator[Object]:
    """The Secrets of ours that belong to this very client: one, or two while its name changes."""
    metadata = client["metadata"]
    for secret in objects.select(kinds.SECRET, metadata["namespace"], {OAUTH_CLIENT_LABEL: metadata["name"]}):
        if owns(client, secret):
            yield secret


def owns(client: Object, secret: Object) -> bool:
    """Whether the object was made for this very client, not for a former one of the name.

    Our labels say so where somebody took the owner away, and the owner where somebody took the labels away.
    """
    metadata = secret["metadata"]
    owners = [owner["uid"] for owner in metadata.get("ownerReferences", ()) if owner.get("controller")]
    marks = {MANAGED_BY: MANAGER, OAUTH_CLIENT_LABEL: client["metadata"]["name"]}.items()
    return client["metadata"]["uid"] in owners if owners else marks <= metadata.get("labels", {}).items()


def read_ledger(secret: Object) -> SecretLedger:
    """What the object says of the secrets."""
    return SecretLedger.from_json(secret["metadata"].get("annotations", {}).get(CLIENT_LEDGER_ANNOTATION, ""))


def record_of(client: Object, secrets: Sequence[model.ClientSecret]) -> model.ClientRecord:
    """The client as the bundle holds it."""
    metadata = client["metadata"]
    return model.ClientRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        spec=client["spec"],
        secrets=tuple(secrets),
    )


def id_of(client: Object) -> str:
    """Namespace and name."""
    return f"{client['metadata']['namespace']}/{client['metadata']['name']}"


def _id(record: model.ClientRecord) -> str:
    return f"{record.namespace}/{record.name}"


def version_of(record: model.ClientRecord) -> Version:
    """What changes when workers must be told."""
    return record.uid, record.generation, record.secrets


def _usable(records: Sequence[model.ClientRecord], settings: model.Settings) -> Iterator[model.ClientRecord]:
    """Those that may be served; why another may not, its own reconciler tells its owner."""
    taken: set[str] = set()
    for record in records:
        client = accepted(record, settings)
        if not isinstance(client, CompiledClient) or client.client_id in taken:
            continue
        taken.add(client.client_id)
        if record.secrets or not client.has_secret:
            yield record
