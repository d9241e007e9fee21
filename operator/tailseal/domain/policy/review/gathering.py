"""Puts loose manifests together as a cluster would: whose policies belong to which provider, and what becomes of them.

For the tools that judge a folder without a cluster. Where a policy's provider is not among the manifests, a stand-in
takes its place that allows whatever bounds can allow: nobody may take its verdict for the provider's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tailseal.api.findings import Finding, SpecError
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.parse import parse
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import Bound, ClientRecord, PolicyRecord, Settings, TailscaleUpstream, Upstream
from tailseal.domain.clients import compile as clients
from tailseal.domain.clients.compile import CompiledClient
from tailseal.domain.policy.compile import CompiledPolicy, accepted
from tailseal.domain.tenancy import minting
from tailseal.domain.tenancy.selecting import NAME_LABEL

Name = tuple[str, str]
"""Namespace and name."""

Object = Mapping[str, Any]
"""A manifest that has at least `kind` and `metadata.name`."""

_NOWHERE: Final = "https://identity-provider.invalid"
_EVERYTHING: Final = Bound(
    name="unknown",
    namespaces=("*",),
    upstreams=("*",),
    tailscale_scopes=("*",),
    tailscale_tags=("*",),
    issuers=("*",),
    key_sources=("*",),
    subject_audiences=("*",),
    audiences=("*",),
    jwt_subject_prefixes=("*",),
    jwt_claims=tuple(sorted(minting.RESERVED_CLAIMS)),
    max_ttl=86_400,
    upstream_lifetime="Accept",
    max_policies=100_000,
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A TrustPolicy and its verdict.

    Args:
        key: its namespace and name.
        provider: the IdentityProvider that it names; empty where it names none.
        outcome: the policy, or why it grants nothing.
    """

    key: Name
    provider: Name
    outcome: CompiledPolicy | tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Gathering:
    """What the manifests say together.

    Args:
        specs: of every valid IdentityProvider.
        settings: what workers would act on, for every provider that a policy names or that is there.
        absent: providers that are named but are not there (or not valid): their settings are a stand-in's.
        policies: all, in the order of namespace and name.
    """

    specs: Mapping[Name, IdentityProviderSpec]
    settings: Mapping[Name, Settings]
    absent: frozenset[Name] = frozenset()
    policies: tuple[Judged, ...] = ()
    of: Mapping[Name, tuple[Judged, ...]] = field(init=False)
    """Policies by the provider that they name."""

    def __post_init__(self) -> None:
        grouped: dict[Name, list[Judged]] = {provider: [] for provider in self.settings}
        for policy in self.policies:
            grouped.setdefault(policy.provider, []).append(policy)
        object.__setattr__(self, "of", {provider: tuple(members) for provider, members in grouped.items()})


def gather(objects: Iterable[Object], default_audiences: Sequence[str] = ()) -> Gathering:
    """Judge every TrustPolicy under the provider that it names.

    Args:
        objects: manifests of any kinds.
        default_audiences: what a stand-in accepts of policies that list no audiences.
    """
    everything = list(objects)
    specs = {key_of(obj): spec for obj in everything if (spec := _provider(obj)) is not None}
    found = [obj for obj in everything if obj["kind"] == "TrustPolicy"]
    named = {provider_of(obj) for obj in found} - {("", "")}
    labels = labels_of(everything)
    settings = {
        key: build.settings_of(spec, namespace=key[0], name=key[1], namespaces=labels) for key, spec in specs.items()
    }
    settings = {key: _reserving(own, key, everything) for key, own in settings.items()}
    absent = frozenset(named - settings.keys())
    for provider in sorted(absent):
        theirs = [obj for obj in found if provider_of(obj) == provider]
        settings[provider] = _stand_in(provider, theirs, default_audiences)
    judged = (
        Judged(key_of(obj), provider_of(obj), _judge(obj, settings.get(provider_of(obj)), default_audiences))
        for obj in found
    )
    return Gathering(specs, settings, absent, tuple(sorted(judged, key=lambda policy: policy.key)))


def _reserving(settings: Settings, provider: Name, objects: Iterable[Object]) -> Settings:
    """With the ids that the provider's clients chose, as far as these may be served."""
    records = (  # one that names a provider has a spec to name it in
        ClientRecord(namespace=key_of(obj)[0], name=key_of(obj)[1], uid="", generation=1, spec=obj["spec"])
        for obj in objects
        if obj["kind"] == "OAuthClient" and provider_of(obj) == provider
    )
    usable = (record for record in records if isinstance(clients.accepted(record, settings), CompiledClient))
    return settings.model_copy(update={"client_ids": clients.chosen_ids(usable)})


def labels_of(objects: Iterable[Object]) -> dict[str, dict[str, str]]:
    """Labels of every namespace that manifests are in or that is itself among them.

    Of the former only the name is known, by the label that every namespace has.
    """
    found: dict[str, dict[str, str]] = {}
    for obj in objects:
        is_one = obj["kind"] == "Namespace"
        name = str(obj["metadata"]["name"]) if is_one else key_of(obj)[0]
        labels = found.setdefault(name, {NAME_LABEL: name})
        given = obj["metadata"].get("labels") if is_one else None
        if isinstance(given, dict):
            found[name] = {**{str(key): str(value) for key, value in given.items()}, **labels}
    return found


def key_of(obj: Object) -> Name:
    """Namespace (the one that a cluster would default to) and name."""
    return str(obj["metadata"].get("namespace") or "default"), str(obj["metadata"]["name"])


def provider_of(policy: Object) -> Name:
    """The IdentityProvider that a TrustPolicy names; empty where it is too broken to say."""
    spec = policy.get("spec")
    reference = spec.get("identityProviderRef") if isinstance(spec, dict) else None
    if not isinstance(reference, dict) or not isinstance(reference.get("name"), str):
        return "", ""
    return str(reference.get("namespace") or key_of(policy)[0]), reference["name"]


def _provider(obj: Object) -> IdentityProviderSpec | None:
    if obj["kind"] != "IdentityProvider":
        return None
    try:
        return parse("IdentityProvider", obj, loopback=True)
    except SpecError:
        return None


def _judge(
    obj: Object, settings: Settings | None, default_audiences: Sequence[str]
) -> CompiledPolicy | tuple[Finding, ...]:
    """The verdict that operator and workers would come to."""
    namespace, name = key_of(obj)
    spec = obj.get("spec")
    generation = obj["metadata"].get("generation")
    record = PolicyRecord(
        namespace=namespace,
        name=name,
        uid="",
        generation=generation if isinstance(generation, int) else 1,
        spec=spec if isinstance(spec, dict) else {},
    )
    return accepted(record, settings or _stand_in(("", ""), [obj], default_audiences))


def _stand_in(provider: Name, policies: Iterable[Object], default_audiences: Sequence[str]) -> Settings:
    names = sorted({name for policy in policies for name in _upstreams(policy.get("spec"))})
    return Settings(
        issuer=_NOWHERE,
        namespace=provider[0],
        name=provider[1],
        token_endpoint=f"{_NOWHERE}/token",
        subject_audiences=tuple(default_audiences) or (_NOWHERE,),
        upstreams=tuple(
            Upstream(name=name, tailscale=TailscaleUpstream(api_url=f"https://{name}.invalid", credential=name))
            for name in names
        ),
        bounds=(_EVERYTHING,),
    )


def _upstreams(value: object) -> Iterable[str]:
    """Every upstream that is named anywhere in a spec."""
    if isinstance(value, list):
        for item in value:
            yield from _upstreams(item)
    elif isinstance(value, dict):
        for name, member in value.items():
            if name == "upstream" and isinstance(member, str):
                yield member
            yield from _upstreams(member)
