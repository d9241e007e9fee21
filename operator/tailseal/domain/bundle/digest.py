"""Digests of bundle volumes: operator and workers compute them from the same files, so that they can be compared."""

from __future__ import annotations

from collections.abc import Mapping

from tailseal.domain import canonical


def volume_digest(files: Mapping[str, bytes]) -> str:
    """Digest of a volume that is swapped as one (`signing`, `credentials`): over all its files, by name."""
    return canonical.digest(canonical.dumps({name: canonical.digest(content) for name, content in files.items()}))


def policies_digest(manifest: bytes) -> str:
    """Digest of the volume `policies`: its manifest's bytes, which name the digest of every other file."""
    return canonical.digest(manifest)


def stamp(digests: Mapping[str, str], attempt: int = 0) -> str:
    """Value of the annotation that makes a kubelet project at once, from the wanted digest by volume.

    A kubelet acts on a change of the annotation only, so each further attempt has a value of its own.
    """
    value = canonical.digest(canonical.dumps(dict(digests)))
    return canonical.digest(f"{value} {attempt}".encode()) if attempt else value
