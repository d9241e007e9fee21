"""Turns the keys that Tailbone keeps in a folder into an imported SigningKey, so that its tokens go on verifying."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailseal.api.meta import ALLOW_LABEL, API_VERSION
from tailseal.cli.imports.tailsts import NotTakenOverError
from tailseal.domain.keys.imported import ImportedKey, imported_key
from tailseal.domain.keys.private import KeyRefused

PRIVATE: Final = ".private.jwk"
"""How the names of files with private keys end; before it stands the key's id, `<prefix>-<Unix seconds>`."""


@dataclass(frozen=True, slots=True)
class Target:
    """What Tailbone had no words for.

    Args:
        namespace: of the SigningKeys; empty: where they are applied.
        signing_key: name of the SigningKey that signs; others get the key's number appended.
        every: whether keys that no longer sign are taken over as well.
    """

    namespace: str = ""
    signing_key: str = "tailbone"
    every: bool = False


def translate(files: Mapping[str, bytes], target: Target) -> str:
    """A SigningKey and its Secret for each key as YAML with comments, the one that signs first.

    Args:
        files: of Tailbone's folder by name; what are no private keys are left out.
        target: where they belong.

    Raises:
        NotTakenOverError: there is no key, or one that we would not accept.
    """
    problems: list[str] = []
    found: list[tuple[int, str, ImportedKey, bytes]] = []
    for file in sorted(files):
        if file.endswith(PRIVATE):
            try:
                found.append(_read(file, files[file]))
            except NotTakenOverError as error:
                problems += error.problems
    if problems or not found:
        raise NotTakenOverError(problems or [f"there is no file *{PRIVATE}"])
    newest, *older = sorted(found, key=lambda key: key[:2], reverse=True)
    documents = [_documents(newest, target.signing_key, target)]
    if target.every:
        documents += [_documents(key, f"{target.signing_key}-{number}", target) for number, key in enumerate(older, 2)]
    left = [file for _, file, _, _ in older] if not target.every else []
    return "---\n".join([_head(left), *documents])


def _read(file: str, content: bytes) -> tuple[int, str, ImportedKey, bytes]:
    """When the key was made, by its name as Tailbone tells it; the file; the key; and what it is in."""
    kid = file.removesuffix(PRIVATE)
    seconds = kid.rpartition("-")[2]
    if not (seconds.isascii() and seconds.isdigit()):
        raise NotTakenOverError([f"{_printable(file)}: the name must be PREFIX-SECONDS{PRIVATE}, as Tailbone's are"])
    jwk = _jwk(file, content)
    if jwk.get("kid", kid) != kid:
        raise NotTakenOverError([f"{_printable(file)}: kid: differs from the file's name"])
    whole = json.dumps({**jwk, "kid": kid}).encode()
    try:
        return int(seconds), file, imported_key({"jwk.json": whole}, "RS256", kid), whole
    except KeyRefused as refused:
        raise NotTakenOverError([f"{_printable(file)}: {refused}"]) from None


def _jwk(file: str, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotTakenOverError([f"{_printable(file)}: is not a JWK"])
    return found


def _documents(key: tuple[int, str, ImportedKey, bytes], name: str, target: Target) -> str:
    _, file, imported, jwk = key
    secret = f"{name}-key"
    lines = [
        f"# From {_printable(file)}.",
        f"apiVersion: {API_VERSION}",
        "kind: SigningKey",
        f"metadata: {_flow(_metadata(name, target))}",
        "spec:",
        "  algorithm: RS256",
        f"  source: {{import: {{secretRef: {{name: {secret}}}, keyID: {json.dumps(imported.kid)}}}}}",
        "---",
        "apiVersion: v1",
        "kind: Secret",
        f"metadata: {_flow(_metadata(secret, target) | {'labels': {ALLOW_LABEL: 'true'}})}",
        f"stringData: {_flow({'jwk.json': jwk.decode()})}",
    ]
    return "\n".join(lines) + "\n"


def _head(left: list[str]) -> str:
    older = f"# Left out, since they no longer sign: {', '.join(map(_printable, left))}; --all takes them along.\n"
    return (
        "# Taken over from Tailbone. This holds private keys in clear: apply it and delete it, or seal it.\n"
        "# Tokens that Tailbone signed go on verifying once an IdentityProvider of that namespace lists the keys in\n"
        "# spec.signingKeys; list a SigningKey that the operator makes before them, and take them off once the last\n"
        "# token has expired. Tailbone's tokens name no audience, and an issuer that may be no URL: who checks\n"
        "# either has to learn the IdentityProvider's.\n"
    ) + (older if left else "")


def _metadata(name: str, target: Target) -> dict[str, Any]:
    return {"name": name} | ({"namespace": target.namespace} if target.namespace else {})


def _flow(value: Mapping[str, Any]) -> str:
    """In YAML's flow style, which JSON is."""
    return json.dumps(value)


def _printable(text: str) -> str:
    """A name on one line of a comment or a message."""
    return "".join(char if char.isprintable() else "?" for char in text)
