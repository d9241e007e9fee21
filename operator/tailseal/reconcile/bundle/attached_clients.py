"""Gathers the OAuthClients that a provider serves, as the file that its bundle should hold, and where each stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tailseal.api.meta import CLIENT_LEDGER_ANNOTATION, OAUTH_CLIENT_LABEL
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.domain import canonical
from tailseal.domain.bundle import build, model
from tailseal.domain.clients.admission import Outcome, admitted
from tailseal.domain.clients.compile import CompiledClient, accepted, chosen_ids
from tailseal.domain.clients.secrets import SecretLedger
from tailseal.reconcile.bundle import clients as written
from tailseal.reconcile.bundle.attached import attached, id_of, provider_of
from tailseal.reconcile.bundle.memory import BundleMemory, ClientsContent, ClientVersion, Placement
from tailseal.reconcile.context import Context, Key, Objects
from tailseal.reconcile.ownership import controllers, marked, ours


def gather(ctx: Context, provider: Object, settings: model.Settings, known: ClientsContent | None) -> ClientsContent:
    """What the file should hold: eldest first, so that of two with one client id the first counts."""
    namespace, name = provider["metadata"]["namespace"], provider["metadata"]["name"]
    clients = attached(ctx.objects, kinds.OAUTH_CLIENT, namespace, name)
    records = [record_of(client, ledger_of(ctx.objects, client).known()) for client in clients]
    about = canonical.digest(build.settings_file(settings))
    made_from = (about, tuple((record.namespace, record.name, *_version(record)) for record in records))
    if known is not None and made_from == known.made_from:
        return known
    # Whether one may be served depends on whose ids are taken, and these on who may be: what is first, reserves.
    reserved = settings.model_copy(update={"client_ids": chosen_ids(_usable(_judged(records, settings)))})
    judged = list(_judged(records, reserved))
    usable = list(_usable(judged))
    former = known.admissions if known is not None else written.admissions(ctx.objects, namespace, name)
    admissions = admitted(judged, former, ctx.entropy.token)
    told = [record.model_copy(update={"uid": admissions[record.id]}) for record in usable]
    content, refused = build.clients(told, settings.namespace)
    places: dict[str, ClientVersion | Placement] = {record.id: _version(record) for record in usable}
    places |= dict.fromkeys((record.id for record in refused), Placement.NO_ROOM)
    left_out = {record.id for record in refused}
    chosen = chosen_ids(record for record in usable if record.id not in left_out)
    return ClientsContent(made_from, content, places, chosen, admissions)


def placement(ctx: Context, client: Object) -> Placement:
    """Where the client, with its secrets of now, stands in the bundle that was last written for its provider."""
    memory: BundleMemory | None = ctx.memory.get(Key("Bundle", *provider_of(client)))
    place = memory.client_places.get(id_of(client), Placement.ABSENT) if memory else Placement.ABSENT
    if isinstance(place, Placement):
        return place
    now = _version(record_of(client, ledger_of(ctx.objects, client).known()))
    return Placement.HELD if place == now else Placement.ABSENT


def rival(objects: Objects, client: Object, settings: model.Settings) -> str:
    """The client that was first with the same client id at the provider, if that is another one."""
    named = client.get("spec", {}).get("clientID")
    if named is None:  # those that are made from names are nobody else's
        return ""
    for other in attached(objects, kinds.OAUTH_CLIENT, *provider_of(client)):
        if id_of(other) == id_of(client):
            return ""
        same = other.get("spec", {}).get("clientID") == named
        if same and isinstance(accepted(record_of(other, ()), settings), CompiledClient):
            return id_of(other)
    return ""


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
    if owners := controllers(secret):
        return client["metadata"]["uid"] in owners
    return marked(secret, ours({OAUTH_CLIENT_LABEL: client["metadata"]["name"]}))


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


def _version(record: model.ClientRecord) -> ClientVersion:
    """What changes when workers must be told."""
    return record.uid, record.generation, record.secrets


def _judged(
    records: Iterable[model.ClientRecord], settings: model.Settings
) -> Iterator[tuple[model.ClientRecord, Outcome]]:
    return ((record, accepted(record, settings)) for record in records)


def _usable(judged: Iterable[tuple[model.ClientRecord, Outcome]]) -> Iterator[model.ClientRecord]:
    """Those that may be served; why another may not, its own reconciler tells its owner."""
    taken: set[str] = set()
    for record, client in judged:
        if not isinstance(client, CompiledClient) or client.client_id in taken:
            continue
        taken.add(client.client_id)
        if record.secrets or not client.has_secret:
            yield record
