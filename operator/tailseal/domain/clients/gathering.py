"""Judges the OAuthClients among loose manifests as a cluster would, for tools that have none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import ClientRecord, ClientSecret, Settings
from tailseal.domain.clients.compile import CompiledClient, accepted, chosen_ids
from tailseal.domain.policy.review.gathering import Name, Object, key_of, provider_of

_NOWHERE = "https://identity-provider.invalid"


@dataclass(frozen=True, slots=True)
class JudgedClient:
    """An OAuthClient and its verdict.

    Args:
        key: its namespace and name.
        record: as a bundle would hold it.
        outcome: the client, or why it must not be used.
        absent: whether the provider that it names is not there: then no bounds were checked.
    """

    key: Name
    record: ClientRecord
    outcome: CompiledClient | tuple[Finding, ...]
    absent: bool = False


def judge(objects: Iterable[Object], settings: Mapping[Name, Settings]) -> Iterator[JudgedClient]:
    """Every OAuthClient, in the given order; of two with one client id at a provider, the first has it.

    Args:
        objects: manifests of any kinds.
        settings: of the providers that are there.
    """
    taken: dict[tuple[Name, str], Name] = {}
    known = [obj for obj in objects if obj["kind"] == "OAuthClient"]
    settings = {provider: _reserving(own, provider, known) for provider, own in settings.items()}
    for obj in known:
        key, provider = key_of(obj), provider_of(obj)
        record = record_of(obj)
        outcome = accepted(record, settings.get(provider) or _stand_in(key[0]))
        if isinstance(outcome, CompiledClient):
            first = taken.setdefault((provider, outcome.client_id), key)
            if first != key:
                message = f"OAuthClient {'/'.join(first)} has it already; choose another"
                outcome = (Finding("spec.clientID", message, Reason.CLIENT_ID_TAKEN),)
        yield JudgedClient(key, record, outcome, absent=provider not in settings)


def _reserving(settings: Settings, provider: Name, objects: Iterable[Object]) -> Settings:
    """With the ids that its clients chose, as far as these may be served at all: no other's audience may be one."""
    records = (record_of(obj) for obj in objects if provider_of(obj) == provider)
    usable = (record for record in records if isinstance(accepted(record, settings), CompiledClient))
    return settings.model_copy(update={"client_ids": chosen_ids(usable)})


def record_of(obj: Object, secrets: Sequence[ClientSecret] = ()) -> ClientRecord:
    """The manifest as a bundle would hold it; whatever it is."""
    (namespace, name), spec = key_of(obj), obj.get("spec")
    return ClientRecord(
        namespace=namespace,
        name=name,
        uid=f"{namespace}/{name}",
        generation=1,
        spec=spec if isinstance(spec, dict) else {},
        secrets=tuple(secrets),
    )


def _stand_in(namespace: str) -> Settings:
    """Settings that allow whatever can be allowed: nobody may take their verdict for the provider's."""
    return Settings(
        issuer=_NOWHERE,
        namespace=namespace,
        name="unknown",
        token_endpoint=f"{_NOWHERE}/token",
        subject_audiences=(_NOWHERE,),
    )
