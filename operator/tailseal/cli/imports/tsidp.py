"""Turns what tsidp keeps on disk into OAuthClients, Secrets and a SigningKey, saying what had to be changed, and why.

tsidp had no public clients, no rule who may log in where, and PKCE only for those who asked. Of these, nothing is
loosened here in silence: what an application needs is written down, for its owner to narrow.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailseal.api.findings import SpecError
from tailseal.api.kinds import NAME_LENGTH
from tailseal.api.meta import ALLOW_LABEL, API_VERSION
from tailseal.api.oauthclient import OAuthClientSpec
from tailseal.api.validation import parse_spec
from tailseal.cli.imports.tailsts import NotTakenOverError
from tailseal.domain.clients.secrets import weakness
from tailseal.domain.keys.imported import imported_key
from tailseal.domain.keys.private import KeyRefused

_UNFIT: Final = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME: Final = NAME_LENGTH - len("-secret")


@dataclass(frozen=True, slots=True)
class Target:
    """What tsidp had no words for.

    Args:
        provider: name of the IdentityProvider.
        provider_namespace: its namespace; empty: that of the clients.
        namespace: of the clients; empty: where they are applied.
        signing_key: name of the SigningKey for its key.
    """

    provider: str
    provider_namespace: str = ""
    namespace: str = ""
    signing_key: str = "tsidp"


def translate(files: Mapping[str, bytes], target: Target) -> str:
    """OAuthClients, Secrets and a SigningKey as YAML with comments.

    Args:
        files: tsidp's `oidc-funnel-clients.json` and `oidc-key.json`, in any order, by name; told apart by content.
        target: where they belong.

    Raises:
        NotTakenOverError: a file is neither, or holds something that we would not accept.
    """
    problems: list[str] = []
    documents: list[str] = []
    taken: set[str] = set()
    for file, content in files.items():
        try:
            found = _read(file, content)
            documents += [_key(file, found, target)] if _is_key(found) else list(_clients(file, found, target, taken))
        except NotTakenOverError as error:
            problems += error.problems
    if problems:
        raise NotTakenOverError(problems)
    return "---\n".join([_head(target), *documents])


def _read(file: str, content: bytes) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise NotTakenOverError([f"{file}: is not JSON"]) from None
    if not isinstance(found, dict):
        raise NotTakenOverError([f"{file}: holds neither tsidp's clients nor its key"])
    return found


def _is_key(found: Mapping[str, Any]) -> bool:
    return _member(found, "Key", "key") is not None and not isinstance(_member(found, "Key", "key"), dict)


def _member(found: Mapping[str, Any], *names: str) -> Any:  # noqa: ANN401
    """A member under one of its names: Go reads them in any case, so files differ by version."""
    folded = {str(name).lower().replace("_", ""): value for name, value in found.items()}
    return next((folded[key] for name in names if (key := name.lower().replace("_", "")) in folded), None)


def _key(file: str, found: Mapping[str, Any], target: Target) -> str:
    pem, kid = _pem(_member(found, "Key")), _member(found, "ID", "kid")
    if not pem or isinstance(kid, bool) or not isinstance(kid, int):
        raise NotTakenOverError([f"{file}: Key, ID: a PEM, encoded or not, and the key's number are needed"])
    try:
        imported_key({"key.pem": pem.encode()}, "RS256", str(kid))
    except KeyRefused as refused:
        raise NotTakenOverError([f"{file}: Key: {refused}"]) from None
    name, secret = target.signing_key, f"{target.signing_key}-key"
    lines = [
        f"# From {_printable(file)}. Tokens that tsidp signed go on verifying once the IdentityProvider lists it in",
        f"# spec.signingKeys: [{{name: {name}}}]; it must be in that one's namespace. tsidp never rotated this key:",
        "# list a SigningKey that the operator makes before it, and take this one off when no token of it is left.",
        f"apiVersion: {API_VERSION}",
        "kind: SigningKey",
        f"metadata: {_flow(_metadata(name, target.provider_namespace or target.namespace))}",
        "spec:",
        "  algorithm: RS256",
        f"  source: {{import: {{secretRef: {{name: {secret}}}, keyID: {_flow(str(kid))}}}}}",
    ]
    return (
        "\n".join(lines) + "\n---\n" + _secret(secret, target.provider_namespace or target.namespace, {"key.pem": pem})
    )


def _pem(value: Any) -> str:  # noqa: ANN401
    """The key: newer versions keep it as it is, others in base64url."""
    if not isinstance(value, str) or value.startswith("-----BEGIN"):
        return value if isinstance(value, str) else ""
    try:
        return base64.urlsafe_b64decode(value).decode()
    except ValueError:
        return ""


def _clients(file: str, found: Mapping[str, Any], target: Target, taken: set[str]) -> Iterator[str]:
    problems: list[str] = []
    for client_id in sorted(found):
        entry = found[client_id]
        where = f"{file}: client {_printable(client_id)}"
        if not isinstance(entry, dict):
            problems.append(f"{where}: must be an object")
            continue
        try:
            yield _client(file, where, client_id, entry, target, taken)
        except NotTakenOverError as error:
            problems += error.problems
    if problems:
        raise NotTakenOverError(problems)


def _client(file: str, where: str, client_id: str, entry: Mapping[str, Any], target: Target, taken: set[str]) -> str:
    uris = _member(entry, "redirect_uris", "redirectURIs") or _texts(_member(entry, "redirect_uri", "redirectURI"))
    secret = _member(entry, "client_secret", "secret")
    title = _member(entry, "client_name", "name")
    name = _name(title if isinstance(title, str) and title else client_id, taken)
    own = isinstance(secret, str) and not weakness(secret)
    spec: dict[str, Any] = {
        "identityProviderRef": {"name": target.provider}
        | ({"namespace": target.provider_namespace} if target.provider_namespace else {}),
        "clientID": client_id,
        "redirectURIs": list(dict.fromkeys(uris)) if isinstance(uris, list) else uris,
        "pkce": "OptionalWithNonce",
        "scopes": ["openid", "profile", "email"],
        **({"secretRef": {"name": f"{name}-secret"}} if own else {}),
    }
    try:
        parse_spec(OAuthClientSpec, spec, loopback=True)
    except SpecError as error:
        raise NotTakenOverError(f"{where}: {found.path}: {found.message}" for found in error.findings) from None
    comments = list(_comments(file, entry, own=own))
    lines = [
        *(f"# {comment}" for comment in comments),
        f"apiVersion: {API_VERSION}",
        "kind: OAuthClient",
        f"metadata: {_flow(_metadata(name, target.namespace))}",
        "spec:",
        *(f"  {member}: {_flow(value)}" for member, value in spec.items()),
    ]
    document = "\n".join(lines) + "\n"
    if not own:
        return document
    return document + "---\n" + _secret(f"{name}-secret", target.namespace, {"client_secret": str(secret)})


def _comments(file: str, entry: Mapping[str, Any], *, own: bool) -> Iterator[str]:
    yield f"From {_printable(file)}."
    yield (
        "Added: pkce: OptionalWithNonce, since tsidp did not ask for PKCE. Take it off once the application uses it; "
        "without PKCE it must send a nonce."
    )
    yield (
        "tsidp let everybody on the tailnet log in. Here nobody does until `allow`, or an app capability, says who: "
        'to keep it as it was, add  allow: {users: ["**"]}'
    )
    if not own:
        yield "Its secret was too weak or missing, so the operator makes another: give the application the new one."
    if _member(entry, "dynamically_registered"):
        yield "It registered itself: make sure that you know it."


def _head(target: Target) -> str:
    return (
        "# Taken over from tsidp. This holds secrets in clear: apply it and delete it, or seal it.\n"
        f"# IdentityProvider {target.provider} must have the issuer that tsidp had, byte by byte. Where clients are in"
        " another\n# namespace than it is, its bounds must allow their audiences (each client id is one), redirectHosts"
        " and grantTypes.\n"
    )


def _secret(name: str, namespace: str, data: Mapping[str, str]) -> str:
    lines = [
        "apiVersion: v1",
        "kind: Secret",
        f"metadata: {_flow(_metadata(name, namespace) | {'labels': {ALLOW_LABEL: 'true'}})}",
        f"stringData: {_flow(dict(data))}",
    ]
    return "\n".join(lines) + "\n"


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    return {"name": name} | ({"namespace": namespace} if namespace else {})


def _texts(value: Any) -> list[str]:  # noqa: ANN401
    """Older versions kept one text, with a line for each URI."""
    return value.split() if isinstance(value, str) else []


def _name(title: str, taken: set[str]) -> str:
    base = _UNFIT.sub("-", title.lower()).strip("-")[: _LONGEST_NAME - 4].strip("-") or "client"
    name = next(name for name in (base, *(f"{base}-{number}" for number in range(2, 10_000))) if name not in taken)
    taken.add(name)
    return name


def _flow(value: object) -> str:
    """A value in YAML's flow style, texts in quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(member)}" for name, member in value.items()) + "}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value)


def _printable(text: str) -> str:
    """A name on one line of a comment."""
    return "".join(char if char.isprintable() else "?" for char in text)
