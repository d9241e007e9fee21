"""The folder's OAuthClients, as the bundle should hold them; a secret must be brought, for nobody makes one here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tailseal.domain.bundle.model import ClientRecord, ClientSecret, Settings
from tailseal.domain.clients import secrets
from tailseal.domain.clients.compile import CompiledClient
from tailseal.domain.clients.gathering import judge
from tailseal.workers.embedded.manifests import FileProblem, Manifest

Secrets = Callable[[str, str], Mapping[str, bytes]]
"""The data of a Secret that may be read, by namespace and name; empty if there is none."""


def clients(
    manifests: Sequence[Manifest], settings: Settings, data_of: Secrets, problems: list[FileProblem]
) -> tuple[ClientRecord, ...]:
    """What the clients' file should hold; what stands in the way of others is added to the problems.

    Args:
        manifests: those that name the provider.
        settings: the provider's.
        data_of: finds Secrets.
        problems: where to say what is to be put right.
    """
    files = {(manifest.namespace, manifest.name): manifest.file for manifest in manifests}
    objects = [manifest.obj for manifest in manifests]
    found = []
    for judged in judge(objects, {(settings.namespace, settings.name): settings}):
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
    return tuple(found)


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
