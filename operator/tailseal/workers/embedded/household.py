"""What the folder means: which provider, which keys, which policies; and what of an earlier state still holds.

A manifest that is bad now leaves keys and settings as they last were. A policy that is bad now grants nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tailseal.api.findings import Finding, SpecError
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.meta import ALLOW_LABEL, ROTATE_ANNOTATION
from tailseal.api.signingkey import KeySource
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import PolicyRecord, Settings
from tailseal.domain.clients.compile import chosen_ids
from tailseal.domain.keys.imported import ImportedKey
from tailseal.domain.keys.private import KeyRefused
from tailseal.domain.keys.source import brought_key, needed_secret, refusal
from tailseal.domain.policy.compile import CompiledPolicy, accepted
from tailseal.domain.policy.review.gathering import labels_of
from tailseal.domain.rotation import IssuerSpec
from tailseal.domain.rotation.signingkey.plan import Wish
from tailseal.domain.tenancy import bounds
from tailseal.workers.embedded import sharedstate
from tailseal.workers.embedded.clients import Clients, clients, unjudged
from tailseal.workers.embedded.manifests import FileProblem, Folder, Manifest
from tailseal.workers.embedded.meanings import MEANINGS, brought, revoked

Key = tuple[str, str, str]

_ATTACHED = frozenset({"TrustPolicy", "OAuthClient"})
"""Kinds that name the provider; one that is bad now counts for nothing."""


@dataclass(frozen=True, slots=True)
class Provider:
    """The IdentityProvider that is served."""

    namespace: str
    name: str
    spec: IdentityProviderSpec


@dataclass(frozen=True, slots=True)
class Household:
    """Everything that is needed to build a bundle.

    Args:
        provider: None while there never was a valid one.
        wishes: what is asked of each SigningKey of its namespace, by name.
        settings: the provider's.
        records: policies that may grant.
        credentials: files of that volume.
        longest_ttl: longest lifetime in seconds of any token that we may sign.
        problems: what is to be put right.
        clients: OAuth clients.
    """

    provider: Provider | None
    wishes: Mapping[str, Wish] = field(default_factory=dict)
    settings: Settings | None = None
    records: tuple[PolicyRecord, ...] = ()
    credentials: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    longest_ttl: int = 0
    problems: tuple[FileProblem, ...] = ()
    clients: Clients = field(default_factory=Clients)

    def issuer_spec(self) -> IssuerSpec:
        """What the provider asks of its keys."""
        if self.provider is None:
            raise ValueError("there is no provider")
        spec = self.provider.spec
        return IssuerSpec(
            order=tuple(reference.name for reference in spec.signing_keys),
            longest_ttl=max(spec.tokens.access_token_ttl, spec.tokens.id_token_ttl, self.longest_ttl),
            clock_skew=spec.tokens.clock_skew,
        )


class Reader:
    """Reads states of the folder one after the other, and keeps what must not be lost.

    Args:
        open_hosts: hosts or ranges beyond the public internet that may be fetched from.
    """

    def __init__(self, open_hosts: Sequence[str] = ()) -> None:
        self._open_hosts = tuple(open_hosts)
        self._good: dict[Key, tuple[str, Any]] = {}
        self._imports: dict[Key, KeySource | None] = {}
        self._generations: dict[Key, tuple[Any, int]] = {}

    def read(self, folder: Folder) -> Household:
        """What the folder means now."""
        problems = list(folder.problems)
        self._forget(folder)
        for manifest in folder.manifests:
            problems += self._learn(manifest)
        provider = self._provider(problems)
        if provider is None:
            present = [manifest.obj for manifest in folder.manifests if manifest.kind == "OAuthClient"]
            return Household(None, problems=tuple(problems), clients=unjudged(present, whole=not folder.unreadable))
        settings = sharedstate.with_state(
            build.settings_of(
                provider.spec,
                namespace=provider.namespace,
                name=provider.name,
                open_hosts=self._open_hosts,
                namespaces=labels_of([*(each.obj for each in folder.manifests), *self._namespaces()]),
            )
        )
        policies = [manifest for manifest in folder.manifests if manifest.kind in _ATTACHED]
        mine = [manifest for manifest in policies if _names(manifest, provider)]
        text = (
            f"names another IdentityProvider than {provider.namespace}/{provider.name}, so it counts for nothing here"
        )
        problems += [
            FileProblem(entry.file, "spec.identityProviderRef", text) for entry in policies if entry not in mine
        ]
        found = clients([each for each in mine if each.kind == "OAuthClient"], settings, self._secret, problems)
        reserving = settings.model_copy(update={"client_ids": chosen_ids(found.usable)})
        compiled = list(self._compiled((each for each in mine if each.kind == "TrustPolicy"), reserving, problems))
        return Household(
            provider=provider,
            wishes=dict(self._wishes(provider, problems)),
            settings=settings,
            records=tuple(record for record, _ in compiled),
            credentials=self._credentials(provider, problems),
            longest_ttl=max((policy.longest_ttl for _, policy in compiled), default=0),
            problems=tuple(problems),
            clients=replace(found, whole=not folder.unreadable),
        )

    def _secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        data: Mapping[str, bytes] = self._good.get(("Secret", namespace, name), ("", {}))[1]
        return data

    def _namespaces(self) -> Iterator[dict[str, Any]]:
        """Namespaces of the folder, also of files that cannot be read now: bounds select by their labels."""
        return (value for (kind, _, _), (_, value) in self._good.items() if kind == "Namespace")

    def _forget(self, folder: Folder) -> None:
        """Drop what was taken out of the folder; what stands in a file that cannot be read now, stays."""
        present = {manifest.key for manifest in folder.manifests}
        self._good = {
            key: (file, value)
            for key, (file, value) in self._good.items()
            if key in present or file in folder.unreadable
        }

    def _learn(self, manifest: Manifest) -> Iterator[FileProblem]:
        """Take the manifest's meaning, or say what is wrong and keep the former one."""
        if manifest.kind not in MEANINGS:
            return
        try:
            meaning = MEANINGS[manifest.kind](manifest)
        except SpecError as error:
            yield from _problems(manifest, error.findings)
            if manifest.key in self._good and manifest.kind == "SigningKey":
                former: Wish = self._good[manifest.key][1]
                ids = former.revoked | revoked(manifest.obj)  # counts even in a spec that is refused otherwise
                self._good[manifest.key] = manifest.file, replace(former, revoked=ids)
        else:
            self._good[manifest.key] = manifest.file, meaning
            if manifest.kind == "SigningKey":
                self._imports[manifest.key] = brought(manifest)

    def _wishes(self, provider: Provider, problems: list[FileProblem]) -> Iterator[tuple[str, Wish]]:
        """What is asked of each SigningKey, with the key to import where there is one that fits."""
        for key, (file, wish) in self._good.items():
            if key[:2] != _of(provider, "SigningKey"):
                continue
            wanted = self._imports.get(key)
            imported = self._imported(wanted, provider.namespace, wish.schedule.algorithm) if wanted else None
            if wanted and wish.rotate_after is not None:
                text = "asks for a key that nobody but you can make: bring another one by spec.source, or take it off"
                problems.append(FileProblem(file, f"metadata.annotations[{ROTATE_ANNOTATION}]", text))
            if isinstance(imported, Finding):
                problems.append(FileProblem(file, imported.path, imported.message))
                imported = None
            yield key[2], replace(wish, imported=imported)

    def _imported(self, wanted: KeySource, namespace: str, algorithm: str) -> ImportedKey | Finding:
        path, name = needed_secret(wanted) or ("", "")
        data = self._secret(namespace, name)
        if not data:
            text = f'a Secret {name} in namespace {namespace} with the label {ALLOW_LABEL}: "true" and a key is needed'
            return Finding(path, text)
        try:
            return brought_key(wanted, algorithm, data)
        except KeyRefused as refused:
            return Finding(*refusal(wanted, refused, name))

    def _provider(self, problems: list[FileProblem]) -> Provider | None:
        found = [(key, file, spec) for key, (file, spec) in self._good.items() if key[0] == "IdentityProvider"]
        if not found:
            problems.append(FileProblem("", "", "there is no valid IdentityProvider in the folder: add one"))
            return None
        for _, file, _ in found[1:]:
            text = f"one IdentityProvider is served, and that is {found[0][0][2]} of {found[0][1]}: use another folder"
            problems.append(FileProblem(file, "metadata.name", text))
        (_, namespace, name), file, spec = found[0]
        for position, reference in enumerate(spec.signing_keys):
            if ("SigningKey", namespace, reference.name) not in self._good:
                text = f"there is no valid SigningKey {reference.name} in namespace {namespace}: add one"
                problems.append(FileProblem(file, f"spec.signingKeys[{position}]", text))
        return Provider(namespace, name, spec)

    def _compiled(
        self, manifests: Iterable[Manifest], settings: Settings, problems: list[FileProblem]
    ) -> Iterator[tuple[PolicyRecord, CompiledPolicy]]:
        counted: Counter[str] = Counter()
        for manifest in sorted(manifests, key=lambda found: found.key):
            counted[manifest.namespace] += 1
            most = bounds.policy_quota(manifest.namespace, settings)
            if most is not None and counted[manifest.namespace] > most:
                text = f"the bounds allow {most} policies of namespace {manifest.namespace} (maxPolicies)"
                problems.append(FileProblem(manifest.file, "metadata.namespace", text))
                continue
            spec = manifest.obj.get("spec") or {}
            former, generation = self._generations.get(manifest.key, (None, 0))
            if former != spec:
                generation += 1
                self._generations[manifest.key] = spec, generation
            record = _record(manifest, spec, generation)
            outcome = accepted(record, settings)
            if isinstance(outcome, CompiledPolicy):
                yield record, outcome
            else:
                problems += _problems(manifest, outcome)

    def _credentials(self, provider: Provider, problems: list[FileProblem]) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        source = self._good["IdentityProvider", provider.namespace, provider.name][0]
        for position, upstream in enumerate(provider.spec.upstreams):
            needed = upstream.credential
            if needed is None:
                continue
            name = needed.secret
            data = self._secret(provider.namespace, name)
            if not all(data.get(file) for file in needed.files):
                path = f"spec.upstreams[{position}].{needed.path}"
                text = (
                    f'a Secret {name} in namespace {provider.namespace} with the label {ALLOW_LABEL}: "true" and '
                    f"with {' and '.join(needed.files)} is needed"
                )
                problems.append(FileProblem(source, path, text))
                continue
            files |= {f"{upstream.name}.{file}": data[file].strip() for file in needed.files}
        if shared := sharedstate.needed_secret(provider.spec):
            given = sharedstate.state_files(shared, self._secret(provider.namespace, shared))
            if isinstance(given, str):
                problems.append(FileProblem(source, sharedstate.PATH, given))
            else:
                files |= given
        return files


def _of(provider: Provider, kind: str) -> tuple[str, str]:
    return kind, provider.namespace


def _names(manifest: Manifest, provider: Provider) -> bool:
    """Whether it is a policy for this provider; one too broken to say so is looked at, and refused for that."""
    spec = manifest.obj.get("spec")
    reference = spec.get("identityProviderRef") if isinstance(spec, dict) else None
    if not isinstance(reference, dict):
        return True
    named = (reference.get("namespace") or manifest.namespace, reference.get("name"))
    return named == (provider.namespace, provider.name)


def _record(manifest: Manifest, spec: Any, generation: int) -> PolicyRecord:  # noqa: ANN401 - whatever YAML held
    return PolicyRecord(
        namespace=manifest.namespace,
        name=manifest.name,
        uid=f"{manifest.namespace}/{manifest.name}",
        generation=generation,
        spec=spec if isinstance(spec, dict) else {},
    )


def _problems(manifest: Manifest, findings: Iterable[Finding]) -> list[FileProblem]:
    return [FileProblem(manifest.file, finding.path, finding.message) for finding in findings]
