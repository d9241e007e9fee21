"""The folder's OAuthClients, as the bundle should hold them; a secret must be brought, for nobody makes one here.

What is admitted is kept beside the keys: a client that was out of the folder, or of its bounds, comes back as another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tailseal.domain import canonical
from tailseal.domain.bundle.model import ClientRecord, ClientSecret, Settings
from tailseal.domain.clients import secrets
from tailseal.domain.clients.admission import Outcome, admitted
from tailseal.domain.clients.compile import CompiledClient
from tailseal.domain.clients.gathering import judge, record_of
from tailseal.workers.embedded.manifests import FileProblem, Manifest
from tailseal.workers.embedded.state import State

Secrets = Callable[[str, str], Mapping[str, bytes]]
"""The data of a Secret that may be read, by namespace and name; empty if there is none."""

_ENTRY: Final = "clients"
_FILE: Final = "admissions.json"


@dataclass(frozen=True, slots=True)
class Clients:
    """What the folder says of clients.

    Args:
        usable: those that may be served.
        judged: all of them, with their verdicts.
        whole: whether every file could be read: else one that is not here may still be in the folder.
    """

    usable: tuple[ClientRecord, ...] = ()
    judged: tuple[tuple[ClientRecord, Outcome], ...] = ()
    whole: bool = True


def unjudged(objects: Sequence[Mapping[str, Any]], *, whole: bool) -> Clients:
    """What is in a folder without a provider: nobody is served, and who stays there loses nothing by it.

    Args:
        objects: manifests of clients.
        whole: as in `Clients`.
    """
    return Clients(judged=tuple((record_of(obj), ()) for obj in objects), whole=whole)


def admit(found: Clients, state: State, draw: Callable[[int], bytes]) -> tuple[ClientRecord, ...]:
    """Those that may be served, each under its present admission, which is on disk before anybody can see it.

    Args:
        found: in the folder.
        state: where admissions are kept.
        draw: makes that many random bytes.

    Raises:
        StateError: the folder of state cannot be read or written.
    """
    former, names = _former(state), {record.id for record, _ in found.judged}
    unseen = {} if found.whole else {name: kept for name, kept in former.items() if name not in names}
    present = unseen | admitted(found.judged, former, draw)
    state.save(_ENTRY, {_FILE: canonical.dumps(present)})
    return tuple(record.model_copy(update={"uid": present[record.id]}) for record in found.usable)


def _former(state: State) -> dict[str, str]:
    """Nothing where it is lost or spoilt: all logins are over then."""
    try:
        known: dict[str, Any] = json.loads((state.load(_ENTRY) or {}).get(_FILE, b"{}"))
        return {name: str(admission) for name, admission in known.items()}
    except (ValueError, AttributeError):
        return {}


def clients(
    manifests: Sequence[Manifest], settings: Settings, data_of: Secrets, problems: list[FileProblem]
) -> Clients:
    """What there is; what stands in the way of clients is added to the problems.

    Args:
        manifests: those that name the provider.
        settings: the provider's.
        data_of: finds Secrets.
        problems: where to say what is to be put right.
    """
    files = {(manifest.namespace, manifest.name): manifest.file for manifest in manifests}
    objects = [manifest.obj for manifest in manifests]
    found = []
    verdicts = tuple(judge(objects, {(settings.namespace, settings.name): settings}))
    for judged in verdicts:
        file = files[judged.key]
        if not isinstance(judged.outcome, CompiledClient):
            problems += (FileProblem(file, finding.path, finding.message) for finding in judged.outcome)
            continue
        if not judged.outcome.has_secret:
            found.append(judged.record)
            continue
        secret = _secret(judged.outcome, judged.record.spec, data_of)
        if isinstance(secret, str):
            problems.append(FileProblem(file, "spec.secretRef", secret))
        else:
            found.append(judged.record.model_copy(update={"secrets": (secret,)}))
    return Clients(tuple(found), tuple((judged.record, judged.outcome) for judged in verdicts))


def _secret(client: CompiledClient, spec: Mapping[str, Any], data_of: Secrets) -> ClientSecret | str:
    """The hash of the client's secret, or what is missing."""
    name = (spec.get("secretRef") or {}).get("name", "")
    if not name:
        return "without a cluster nobody makes a secret: name a Secret with a client_secret of your own"
    secret = data_of(client.namespace, name).get("client_secret", b"").strip().decode(errors="replace")
    if not secret:
        return (
            f'a Secret {name} in namespace {client.namespace} with the label tailseal.dev/allow: "true" and with '
            "client_secret is needed"
        )
    if why := secrets.weakness(secret):
        return f"Secret {name}: client_secret {why}"
    return ClientSecret(digest=secrets.digest(client.client_id, secret))
