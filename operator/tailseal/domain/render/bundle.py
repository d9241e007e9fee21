"""The objects that carry a bundle: names that never change, so that no pod template ever follows a key or a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailseal.api import meta
from tailseal.domain.bundle import model
from tailseal.domain.render.common import Provider, encoded


def signing(provider: Provider, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Secret with the volume `signing`."""
    return _secret(provider, meta.signing_secret(provider.name), files)


def credentials(provider: Provider, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Secret with the volume `credentials`."""
    return _secret(provider, meta.credentials_secret(provider.name), files)


def tls(provider: Provider, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Secret with the workers' certificate: a copy, so that pods mount nothing that was not allowed."""
    return _secret(provider, meta.tls_secret(provider.name), files)


def tailnet(provider: Provider, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Secret with what nodes join the tailnet by: for the node beside the worker, not for the worker."""
    return _secret(provider, meta.tailnet_secret(provider.name), files)


def policies(provider: Provider, settings: bytes, manifest: bytes) -> dict[str, Any]:
    """ConfigMap with settings and manifest of the volume `policies`: one object, so they change as one."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": provider.metadata(meta.policies_config_map(provider.name)),
        "data": {model.SETTINGS_FILE: settings.decode(), model.MANIFEST_FILE: manifest.decode()},
    }


def shard(provider: Provider, number: int, content: bytes) -> dict[str, Any]:
    """ConfigMap with one shard of the volume `policies`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": provider.metadata(meta.shard_config_map(provider.name, number)),
        "binaryData": encoded({model.shard_file(number): content}),
    }


def clients(provider: Provider, content: bytes) -> dict[str, Any]:
    """ConfigMap with the clients of the volume `policies`; it outlives the provider, for it says who is admitted."""
    name = meta.clients_config_map(provider.name)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": provider.namespace, "labels": provider.labels()},
        "binaryData": encoded({model.CLIENTS_FILE: content}),
    }


def accepted(provider: Provider, spec: bytes) -> dict[str, Any]:
    """ConfigMap with the last accepted spec; no pod mounts it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": provider.metadata(meta.accepted_config_map(provider.name)),
        "data": {"spec.json": spec.decode()},
    }


def places(provider: Provider, content: bytes) -> dict[str, Any]:
    """ConfigMap with the places that keys were put at; no pod mounts it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": provider.metadata(meta.publish_config_map(provider.name)),
        "data": {"places.json": content.decode()},
    }


def _secret(provider: Provider, name: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": provider.metadata(name),
        "type": "Opaque",
        "data": encoded(files),
    }
