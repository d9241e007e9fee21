"""Everything that is wrong with a set of manifests, as far as it can be seen without a cluster.

Manifests are judged by the models of the API server and by the compiler and bounds that production runs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tailseal.api.findings import Finding, SpecError
from tailseal.api.meta import ALLOW_LABEL
from tailseal.api.parse import parse
from tailseal.api.reasons import Reason
from tailseal.api.unsupported import unsupported
from tailseal.domain.policy.compile import CompiledPolicy
from tailseal.domain.policy.index import MOST_SOURCES, PolicyIndex
from tailseal.domain.policy.review import overlap
from tailseal.domain.policy.review.gathering import Gathering, Name, Object, gather, key_of, provider_of
from tailseal.domain.policy.source import TAILNET
from tailseal.domain.tenancy import bounds

ObjectKey = tuple[str, str, str]
"""Kind, namespace and name."""


class Level(StrEnum):
    """How bad it is; the words of SARIF."""

    ERROR = "error"
    """It is not accepted, or does not work."""
    WARNING = "warning"
    """It works, but certainly not as meant."""
    NOTE = "note"
    """It works as written; whether it is meant, only its author knows."""


class Rule(StrEnum):
    """What is found here beside the reasons of conditions."""

    UNREADABLE = "Unreadable"
    DUPLICATE = "Duplicate"
    SHADOWED = "Shadowed"
    AMBIGUOUS = "Ambiguous"
    NEVER_MATCHES = "NeverMatches"
    KEYS_EXPIRED = "KeysExpired"
    CROWDED = "Crowded"


REMEDIES: Final[Mapping[str, str]] = {
    Rule.UNREADABLE: "make it YAML of our kinds, or move it out of the folder",
    Rule.DUPLICATE: "keep one of them",
    Rule.SHADOWED: "delete it, or narrow the one before it",
    Rule.AMBIGUOUS: "have callers name audience, resource, policy or grant; or make one of the policies narrower",
    Rule.NEVER_MATCHES: "drop one of the rules",
    Rule.CROWDED: "share key sources between policies, or have callers name the policy",
    Rule.KEYS_EXPIRED: "put the issuer's present keys and a later expiryTime into it",
    Reason.INVALID_SPEC: "write the field as the message says; `kubectl explain` has every field",
    Reason.NOT_SUPPORTED_YET: "leave the field out",
    Reason.EXCEEDS_BOUNDS: "stay within the IdentityProvider's bounds, or have its owner widen them",
    Reason.TENANT_NOT_PINNED: "add an exact rule on an id that binds the tenant for good",
    Reason.RESERVED_AUDIENCE: "name the service that the token is for",
    Reason.CAPACITY_EXCEEDED: "delete policies of the namespace, or have the provider's owner raise maxPolicies",
    Reason.REF_NOT_FOUND: "add what is named, correct the name, or give its manifest with --with",
    Reason.REF_NOT_PERMITTED: f'label the Secret {ALLOW_LABEL}: "true"',
    Reason.CLIENT_ID_TAKEN: "choose another client id, or leave it out",
    Reason.ISSUER_TAKEN: "give each IdentityProvider an issuer of its own",
}
"""What to do, by rule."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing to put right.

    Args:
        key: the object.
        path: the field, as far as it can be told.
        message: what is wrong, and what would be right.
        rule: a condition reason, or a `Rule`.
        level: how bad it is.
    """

    key: ObjectKey
    path: str
    message: str
    rule: str
    level: Level = Level.ERROR


def lint(objects: Sequence[Object], context: Sequence[Object] = (), *, now: float) -> tuple[Found, ...]:
    """All findings about the objects, in their order.

    Args:
        objects: manifests of our kinds, and Secrets.
        context: further ones that are there, of which nothing is said.
        now: Unix seconds.
    """
    firsts = {_key(obj): obj for obj in reversed(objects)}
    others = {_key(obj): obj for obj in context if _key(obj) not in firsts}
    everything = {**firsts, **others}
    gathering = gather(everything.values())
    found = [
        *_twice(objects),
        *(entry for key, obj in firsts.items() for entry in _spec(key, obj)),
        *_references(gathering, everything),
        *_issuers(gathering),
        *_policies(gathering, now),
        *_clients(gathering, everything),
        *_overlaps(gathering, everything),
        *_quotas(gathering),
        *_crowded(gathering),
    ]
    places = {key: place for place, key in reversed(list(enumerate(map(_key, objects))))}
    mine = (entry for entry in dict.fromkeys(found) if entry.key in places)
    return tuple(sorted(mine, key=lambda entry: (places[entry.key], entry.path, entry.rule)))


def _key(obj: Object) -> ObjectKey:
    return str(obj["kind"]), *key_of(obj)


def _twice(objects: Iterable[Object]) -> Iterator[Found]:
    for key, count in Counter(map(_key, objects)).items():
        if count > 1:
            yield Found(key, "metadata.name", f"is there {count} times: only the first was looked at", Rule.DUPLICATE)


def _spec(key: ObjectKey, obj: Object) -> Iterator[Found]:
    """What the API server, or this version, would not take."""
    if key[0] not in {"SigningKey", "IdentityProvider"}:  # policies are compiled
        return
    try:
        findings: Iterable[Finding] = unsupported(parse(key[0], obj, loopback=True))
    except SpecError as error:
        findings = error.findings
    yield from (_of(key, finding) for finding in findings)


def _of(key: ObjectKey, finding: Finding) -> Found:
    return Found(key, finding.path, finding.message, finding.reason.value)


def _references(gathering: Gathering, everything: Mapping[ObjectKey, Object]) -> Iterator[Found]:
    for (namespace, name), spec in gathering.specs.items():
        for position, reference in enumerate(spec.signing_keys):
            if ("SigningKey", namespace, reference.name) not in everything:
                text = f"there is no SigningKey {reference.name} in namespace {namespace}"
                path = f"spec.signingKeys[{position}].name"
                yield Found(("IdentityProvider", namespace, name), path, text, Reason.REF_NOT_FOUND)
    for key, obj in everything.items():
        if key[0] in {"IdentityProvider", "OAuthClient"}:
            yield from _secrets(key, obj, everything)
        if key[0] == "TrustPolicy" and provider_of(obj) in gathering.absent:
            text = f"there is no valid IdentityProvider {'/'.join(provider_of(obj))}: bounds were not checked"
            yield Found(key, "spec.identityProviderRef", text, Reason.REF_NOT_FOUND)


def _secrets(key: ObjectKey, obj: Object, everything: Mapping[ObjectKey, Object]) -> Iterator[Found]:
    """Secrets that are there must carry the label; most are not in any folder, and rightly so."""
    for path, name in _secret_references(obj.get("spec"), "spec"):
        secret = everything.get(("Secret", key[1], name))
        labels = secret["metadata"].get("labels") if secret is not None else None
        if secret is not None and not (isinstance(labels, dict) and labels.get(ALLOW_LABEL) == "true"):
            text = f'Secret {name} lacks the label {ALLOW_LABEL}: "true", so it is not read'
            yield Found(key, path, text, Reason.REF_NOT_PERMITTED)


def _secret_references(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any YAML
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _secret_references(item, f"{path}[{position}]")
    elif isinstance(value, dict):
        for name, member in value.items():
            here = f"{path}.{name}"
            if str(name).lower().endswith("secretref") and isinstance(member, dict):
                yield here, str(member.get("name"))
            else:
                yield from _secret_references(member, here)


def _issuers(gathering: Gathering) -> Iterator[Found]:
    by_issuer: dict[str, list[Name]] = defaultdict(list)
    for key, spec in gathering.specs.items():
        by_issuer[spec.issuer].append(key)
    for keys in by_issuer.values():
        for namespace, name in keys[1:]:
            text = f"IdentityProvider {'/'.join(keys[0])} speaks for this issuer already"
            yield Found(("IdentityProvider", namespace, name), "spec.issuer", text, Reason.ISSUER_TAKEN)


def _policies(gathering: Gathering, now: float) -> Iterator[Found]:
    for judged in gathering.policies:
        key = ("TrustPolicy", *judged.key)
        if not isinstance(judged.outcome, CompiledPolicy):
            yield from (_of(key, finding) for finding in judged.outcome)
            continue
        policy = judged.outcome
        if (rules := overlap.contradiction(policy)) is not None:
            first, second = rules
            text = f"no token passes both this ({first.expected}) and {second.field} ({second.expected})"
            yield Found(key, first.field, text, Rule.NEVER_MATCHES, Level.WARNING)
        if policy.trust.source.expires_at is not None and policy.trust.source.expires_at <= now:
            path = f"{policy.trust.origin}.keys.jwks.expiryTime"
            yield Found(key, path, "the keys have expired: the policy grants nothing", Rule.KEYS_EXPIRED, Level.WARNING)


def _clients(gathering: Gathering, everything: Mapping[ObjectKey, Object]) -> Iterator[Found]:
    if all(kind != "OAuthClient" for kind, _, _ in everything):
        return
    from tailseal.domain.clients.gathering import judge  # noqa: PLC0415 - most folders have none

    there = {name: settings for name, settings in gathering.settings.items() if name not in gathering.absent}
    for judged in judge(everything.values(), there):
        key = ("OAuthClient", *judged.key)
        provider = provider_of(everything[key])
        if judged.absent and provider != ("", ""):
            text = f"there is no valid IdentityProvider {'/'.join(provider)}: bounds were not checked"
            yield Found(key, "spec.identityProviderRef", text, Reason.REF_NOT_FOUND)
        if isinstance(judged.outcome, tuple):
            yield from (_of(key, finding) for finding in judged.outcome)


def _overlaps(gathering: Gathering, everything: Mapping[ObjectKey, Object]) -> Iterator[Found]:
    for members in gathering.of.values():
        policies = [
            overlap.Policy(judged.outcome, everything["TrustPolicy", *judged.key]["spec"]["from"])
            for judged in members
            if isinstance(judged.outcome, CompiledPolicy)
        ]
        for found in overlap.overlaps(policies):
            key = ("TrustPolicy", found.policy.namespace, found.policy.name)
            if found.shadowed:
                yield Found(key, "spec", overlap.told(found), Rule.SHADOWED, Level.WARNING)
            else:
                yield Found(key, "spec.grants", overlap.told(found), Rule.AMBIGUOUS, Level.NOTE)


def _crowded(gathering: Gathering) -> Iterator[Found]:
    for members in gathering.of.values():
        policies = [judged.outcome for judged in members if isinstance(judged.outcome, CompiledPolicy)]
        index = PolicyIndex(policies)
        for policy in policies:
            theirs = (actor.source not in index.acting(actor.source.issuer, None) for actor in policy.actors)
            source = policy.trust.source
            if (source != TAILNET and source not in index.considered(source.issuer, None)) or any(theirs):
                text = (
                    f"namespace {policy.namespace} has more than {MOST_SOURCES} key sources of its own for one issuer:"
                    " the policy grants only to requests that name it (parameter policy)"
                )
                key = ("TrustPolicy", policy.namespace, policy.name)
                yield Found(key, "spec.from", text, Rule.CROWDED, Level.WARNING)


def _quotas(gathering: Gathering) -> Iterator[Found]:
    for provider, members in gathering.of.items():
        by_namespace = Counter(judged.key[0] for judged in members)
        for namespace, count in by_namespace.items():
            settings = gathering.settings.get(provider)
            quota = bounds.policy_quota(namespace, settings) if settings is not None else None
            if quota is not None and count > quota:
                last = max(judged.key for judged in members if judged.key[0] == namespace)
                text = f"namespace {namespace} has {count} policies here, and the bounds allow {quota} (maxPolicies)"
                yield Found(("TrustPolicy", *last), "metadata.namespace", text, Reason.CAPACITY_EXCEEDED)
