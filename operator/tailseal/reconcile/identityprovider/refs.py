"""What an IdentityProvider's spec names: SigningKeys, credentials, a certificate; each found, refused or missing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tailseal.api import meta
from tailseal.api.conditions import conditions_of, get_condition
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.reasons import Reason
from tailseal.api.signingkey import DEFAULT_ALGORITHM
from tailseal.cluster import kinds
from tailseal.cluster.port import Ref
from tailseal.domain.bundle.model import SIGNING_FILE
from tailseal.domain.render.common import decoded
from tailseal.domain.rotation import LedgerError, OfferedKey, offers, revoked_offer
from tailseal.domain.tenancy.selecting import select
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Objects
from tailseal.reconcile.signingkey.inputs import revoked_ids

_TLS = ("tls.crt", "tls.key")

AWAITED = frozenset({Reason.REF_NOT_FOUND, Reason.REF_NOT_PERMITTED})
"""What may come by itself, in the next file that somebody applies: such a reference is waited for, not given up."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reference that does not lead where it should; nobody may have to guess which."""

    path: str
    reason: Reason
    message: str
    stalled: bool = True


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a volume, and what stood in the way of better ones."""

    files: Mapping[str, bytes]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class OfferedKeys:
    """What the SigningKeys offer: keys, the PEM by key id, and which of them could not be read."""

    keys: tuple[OfferedKey, ...]
    pems: Mapping[str, bytes]
    problems: tuple[Problem, ...] = ()

    @property
    def awaited(self) -> bool:
        """Whether a SigningKey that is listed is about to offer its first key."""
        return any(problem.reason is Reason.REF_NOT_READY and not problem.stalled for problem in self.problems)


def files_of(objects: Objects, namespace: str, secret: str) -> dict[str, bytes]:
    """The files in a Secret that the store knows; none if it is not there."""
    found = objects.get(Ref(kinds.SECRET, namespace, secret))
    return decoded(found.get("data")) if found else {}


def signing_keys(objects: Objects, namespace: str, spec: IdentityProviderSpec, promised: Iterable[str]) -> OfferedKeys:
    """The keys of every SigningKey that the spec lists or that the issuer still owes something to.

    Args:
        objects: the store.
        namespace: of provider and SigningKeys.
        spec: the provider's.
        promised: names of SigningKeys that the issuer's ledger knows.
    """
    keys: list[OfferedKey] = []
    pems: dict[str, bytes] = {}
    problems: list[Problem] = []
    listed = {reference.name: index for index, reference in enumerate(spec.signing_keys)}
    for name in (*listed, *sorted(set(promised) - listed.keys())):
        path = f"spec.signingKeys[{listed[name]}]" if name in listed else "spec.signingKeys"
        secret = objects.get(Ref(kinds.SECRET, namespace, meta.key_secret(name)))
        if name in listed and (problem := _missing_key(objects, namespace, name, path, there=secret is not None)):
            problems.append(problem)
        keys += _revoked(objects, namespace, name)
        if secret is None:
            continue
        try:
            offered = offers(secret)
        except LedgerError as error:
            problems.append(Problem(path, Reason.LEDGER_UNREADABLE, f"SigningKey {name}: {error}"))
            continue
        keys += offered.keys
        pems |= offered.pems
    return OfferedKeys(tuple(keys), pems, tuple(problems))


def signing_algorithms(objects: Objects, namespace: str, provider: str) -> tuple[frozenset[str], frozenset[str]]:
    """The algorithms that the provider's workers sign with, and those of the SigningKeys that its spec lists."""
    active: frozenset[str] = frozenset()
    with contextlib.suppress(ValueError, KeyError, AttributeError, TypeError):
        written = files_of(objects, namespace, meta.signing_secret(provider))[SIGNING_FILE]
        active = frozenset(json.loads(written)["active"])
    obj = objects.get(Ref(kinds.IDENTITY_PROVIDER, namespace, provider)) or {}
    names = [reference.get("name", "") for reference in (obj.get("spec") or {}).get("signingKeys") or ()]
    keys = [objects.get(Ref(kinds.SIGNING_KEY, namespace, name)) for name in names]
    return active, frozenset(key["spec"].get("algorithm") or DEFAULT_ALGORITHM for key in keys if key is not None)


def credentials(objects: Objects, namespace: str, provider: str, spec: IdentityProviderSpec) -> Files:
    """The volume `credentials`: copies from the Secrets that upstreams name; the last good ones where that fails."""
    kept = files_of(objects, namespace, meta.credentials_secret(provider))
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    for index, upstream in enumerate(spec.upstreams):
        needed = upstream.credential
        if needed is None:
            continue
        given = copied(objects, namespace, needed.secret, needed.files, f"spec.upstreams[{index}].{needed.path}")
        problems += given.problems
        # An editor's trailing newline is no part of a client id, a secret or a key.
        found = {file: content.strip() for file, content in given.files.items()}
        last = {file: kept[f"{upstream.name}.{file}"] for file in needed.files if f"{upstream.name}.{file}" in kept}
        files |= {f"{upstream.name}.{file}": content for file, content in (found or last).items()}
    return Files(files, tuple(problems))


def certificate(objects: Objects, namespace: str, provider: str, spec: IdentityProviderSpec) -> Files | None:
    """The workers' certificate and key; the last good ones where the reference fails; None if none is asked for."""
    if spec.serving.tls is None:
        return None
    given = copied(objects, namespace, spec.serving.tls.secret_ref.name, _TLS, "spec.serving.tls.secretRef")
    kept = files_of(objects, namespace, meta.tls_secret(provider))
    return Files(given.files or kept, given.problems)


def selected(objects: Objects, spec: IdentityProviderSpec) -> tuple[Problem, ...]:
    """That bounds select more namespaces than there is room for, if so: the youngest are not admitted."""
    over = select(spec.bounds, objects.namespaces() or {}).left_out
    text = f"{over} more namespaces are selected than there is room for, so the youngest are not admitted: select fewer"
    return (Problem("spec.bounds", Reason.CAPACITY_EXCEEDED, text),) if over else ()


def resolved(problems: Iterable[Problem]) -> Fact:
    """The condition `ResolvedRefs`: all problems, the first one's reason."""
    found = tuple(problems)
    if not found:
        return Fact("ResolvedRefs", status=True, reason=Reason.RESOLVED, message="everything named is there")
    text = "; ".join(f"{problem.path}: {problem.message}" for problem in found)
    stalled = any(problem.stalled and problem.reason not in AWAITED for problem in found)
    first = next((problem for problem in found if problem.stalled), found[0])
    return Fact("ResolvedRefs", status=False, reason=first.reason, message=text, stalled=stalled)


def _revoked(objects: Objects, namespace: str, name: str) -> list[OfferedKey]:
    """What the SigningKey's spec revokes. It counts before its ledger says so, and where that cannot be read at all."""
    obj = objects.get(Ref(kinds.SIGNING_KEY, namespace, name))
    return [] if obj is None else [revoked_offer(kid, name) for kid in sorted(revoked_ids(obj))]


def _missing_key(objects: Objects, namespace: str, name: str, path: str, *, there: bool) -> Problem | None:
    obj = objects.get(Ref(kinds.SIGNING_KEY, namespace, name))
    if obj is None:
        return Problem(path, Reason.REF_NOT_FOUND, f"there is no SigningKey {name} in namespace {namespace}: create it")
    if there:
        return None
    accepted = get_condition(conditions_of(obj), "Accepted")
    if accepted is not None and accepted.status == "False":
        text = f"SigningKey {name} has no key and is not accepted: see its conditions"
        return Problem(path, Reason.REF_NOT_READY, text)
    return Problem(path, Reason.REF_NOT_READY, f"SigningKey {name} has no key yet", stalled=False)


def copied(
    objects: Objects, namespace: str, name: str, needed: tuple[str, ...], path: str, *, optional: tuple[str, ...] = ()
) -> Files:
    """Files of a Secret that may be read and holds all of them; none, and why not, where that is not so.

    Args:
        objects: the store.
        namespace: of the provider and the Secret.
        name: of the Secret.
        needed: files that must be there.
        path: of the reference.
        optional: files that are taken along if they are there.
    """
    secret = objects.get(Ref(kinds.SECRET, namespace, name))
    if secret is None:
        text = (
            f"there is no Secret {name} in namespace {namespace} that carries the label {meta.ALLOW_LABEL}=true; "
            "create or label it"
        )
        return Files({}, (Problem(path, Reason.REF_NOT_FOUND, text),))
    if secret["metadata"].get("labels", {}).get(meta.ALLOW_LABEL) != "true":
        text = f"Secret {name} may not be read: it lacks the label {meta.ALLOW_LABEL}=true"
        return Files({}, (Problem(path, Reason.REF_NOT_PERMITTED, text),))
    held = decoded(secret.get("data"))
    if lacking := [file for file in needed if not held.get(file)]:
        text = f"Secret {name} lacks {', '.join(lacking)}"
        return Files({}, (Problem(path, Reason.REF_INVALID, text),))
    return Files({file: held[file] for file in (*needed, *optional) if held.get(file)})
