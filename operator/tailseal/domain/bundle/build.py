"""Builds the files of a bundle from intent and plan, for the operator as for `tailseal serve`.

Equal input gives equal bytes, whoever builds and when, so that digests can be compared and nothing is written twice.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from tailseal.api.identityprovider import Bound, IdentityProviderSpec, Upstream
from tailseal.api.meta import SHARDS
from tailseal.domain import canonical
from tailseal.domain.bundle import model, versions
from tailseal.domain.keys.handle import is_handle
from tailseal.domain.rotation.issuer.plan import IssuerPlan
from tailseal.domain.tenancy import selecting

MAX_SHARD_BYTES: Final = 512 * 1024
"""Compressed size that a shard may have: half of what a ConfigMap may hold."""

MAX_SHARD_CONTENT: Final = 4 * 1024 * 1024
"""Size that a shard may have once decompressed: what a reader must be ready to hold."""

MAX_RECORD_CONTENT: Final = 256 * 1024
"""Size of one policy beyond which it is refused, so that no single one fills a shard."""


Record = TypeVar("Record", model.PolicyRecord, model.ClientRecord)


@dataclass(frozen=True, slots=True)
class Shards:
    """Policies spread over their shards.

    Args:
        files: the file of each shard that is not empty, by number.
        refused: policies that have no room (`CapacityExceeded`); all others are in the files, whole.
    """

    files: Mapping[int, bytes]
    refused: tuple[model.PolicyRecord, ...] = ()


def shard_of(namespace: str, name: str) -> int:
    """The shard of a policy; it never changes."""
    return hashlib.sha256(f"{namespace}/{name}".encode()).digest()[0] % SHARDS


def shards(records: Iterable[model.PolicyRecord], own: str = "") -> Shards:
    """Spread policies over shards.

    Args:
        records: in order of seniority.
        own: the provider's namespace; see `shard`.
    """
    spread: dict[int, list[model.PolicyRecord]] = defaultdict(list)
    for record in records:
        spread[shard_of(record.namespace, record.name)].append(record)
    files: dict[int, bytes] = {}
    refused: list[model.PolicyRecord] = []
    for number in sorted(spread):
        content, left_out = shard(spread[number], own)
        refused += left_out
        if content:
            files[number] = content
    return Shards(files, tuple(refused))


def shard(records: Sequence[model.PolicyRecord], own: str = "") -> tuple[bytes, tuple[model.PolicyRecord, ...]]:
    """One shard's file (`NN.json.gz`; empty bytes if it holds nothing) and the records it has no room for.

    Args:
        records: all policies of this shard, in order of seniority.
        own: the provider's namespace, which comes first where there is not room for all; see `_fill`.
    """
    return _fill(records, own, lambda kept: model.Shard(policies=kept))


def clients(records: Sequence[model.ClientRecord], own: str = "") -> tuple[bytes, tuple[model.ClientRecord, ...]]:
    """The clients' file (empty bytes if it holds nothing) and the records that it has no room for.

    Args:
        records: in order of seniority.
        own: the provider's namespace, which comes first where there is not room for all; see `_fill`.
    """
    return _fill(records, own, lambda kept: model.Clients(clients=kept))


def manifest(settings: bytes, files: Mapping[int, bytes], clients: bytes = b"") -> bytes:
    """`manifest.json` over the bytes of `settings.json`, of the shards' files and of the clients' (empty: none)."""
    digests = {f"{number:02d}": canonical.digest(content) for number, content in files.items()}
    named = canonical.digest(clients) if clients else None
    written = model.Manifest(settings=canonical.digest(settings), shards=digests, clients=named)
    return canonical.dumps(written.document())


def settings_file(settings: model.Settings, version: int = model.VERSION) -> bytes:
    """`settings.json`, as readers of a version understand it: what came later is left out."""
    return canonical.dumps(versions.lowered(settings, version))


def policies_volume(settings: model.Settings, files: Mapping[int, bytes], clients: bytes = b"") -> dict[str, bytes]:
    """All files of the volume `policies`, by name."""
    written = settings_file(settings)
    return {
        model.SETTINGS_FILE: written,
        model.MANIFEST_FILE: manifest(written, files, clients),
        **({model.CLIENTS_FILE: clients} if clients else {}),
        **{model.shard_file(number): content for number, content in files.items()},
    }


def settings_of(
    spec: IdentityProviderSpec,
    *,
    namespace: str,
    name: str,
    uid: str = "",
    open_hosts: Sequence[str] = (),
    extra_ca: str = "",
    namespaces: Mapping[str, selecting.Labels] = MappingProxyType({}),
) -> model.Settings:
    """What workers act on besides keys and policies.

    Args:
        spec: of the IdentityProvider.
        namespace: its namespace, for policies of which absent bounds allow anything.
        name: its name.
        uid: its uid.
        open_hosts: hosts or CIDRs beyond the public internet, as the installation opens them.
        extra_ca: PEM certificates to trust besides the system's.
        namespaces: labels by name, eldest first, for bounds that select; without any these select nothing.
    """
    base = base_url(spec)
    selected = selecting.select(spec.bounds, namespaces).names
    return model.Settings(
        issuer=spec.issuer,
        namespace=namespace,
        name=name,
        uid=uid,
        token_endpoint=f"{base}/token",
        subject_audiences=tuple(dict.fromkeys((spec.issuer, base))),
        access_token_ttl=spec.tokens.access_token_ttl,
        id_token_ttl=spec.tokens.id_token_ttl,
        refresh_token_ttl=spec.tokens.refresh_token_ttl,
        clock_skew=spec.tokens.clock_skew,
        trusted_proxies=spec.serving.trusted_proxies,
        upstreams=tuple(map(_upstream, spec.upstreams)),
        tailsts_upstream=spec.sts.tailsts.upstream if spec.sts.tailsts is not None else None,
        capability=spec.tailnet.capability if spec.tailnet is not None else model.CAPABILITY,
        bounds=tuple(_bound(bound, namespace, selected.get(bound.name, ())) for bound in spec.bounds),
        staleness=model.Staleness(behind=spec.staleness.behind, unheard=spec.staleness.unheard),
        state="Postgres" if spec.storage is not None and spec.storage.type == "Postgres" else None,
        introductions=model.Introductions(
            dynamic=spec.registration.dynamic == "Enabled",
            metadata_hosts=spec.registration.client_id_metadata.allowed_domains,
        ),
        open_hosts=tuple(open_hosts),
        extra_ca=extra_ca,
    )


def base_url(spec: IdentityProviderSpec) -> str:
    """Where callers reach the token service: the first endpoint that is declared, else the issuer."""
    return (spec.serving.endpoints[0].url if spec.serving.endpoints else spec.issuer).rstrip("/")


def signing_of(
    issuer: str, plan: IssuerPlan, pems: Mapping[str, bytes], poll_key: bytes, salt: bytes = b""
) -> dict[str, bytes]:
    """All files of the volume `signing`, by name.

    Args:
        issuer: of the IdentityProvider.
        plan: what to publish, hold and sign with.
        pems: PEM or handle by key id; a held key without one is left out, so that no worker can miss its file.
        poll_key: 32 bytes.
        salt: 32 bytes, for pairwise subjects; empty: they follow from the poll key.
    """
    held = [key for key in plan.held if key.kid in pems]
    files = {key.kid: key_file(key.kid, pems[key.kid]) for key in held}
    signing = model.Signing(
        issuer=issuer,
        held=tuple(
            model.HeldKey(kid=key.kid, alg=key.alg, file=files[key.kid], sign_until=key.sign_until) for key in held
        ),
        active={algorithm: kid for algorithm, kid in plan.active.items() if kid in files},
        default_algorithm=plan.default_algorithm,
        jwks={"keys": [dict(key) for key in plan.published]},
        max_age=plan.max_age,
        next_change=plan.next_change,
        max_token_ttl=plan.max_token_ttl,
        status_key=base64.urlsafe_b64encode(poll_key).rstrip(b"=").decode(),
        revision=plan.ledger.revision,
    )
    return {
        model.SIGNING_FILE: canonical.dumps(signing.document()),
        **({model.SALT_FILE: salt} if salt else {}),
        **{files[kid]: pems[kid] for kid in files},
    }


def key_file(kid: str, material: bytes) -> str:
    """Name of a key's file: not the key id itself, which may hold characters that no Secret's key may."""
    return f"{hashlib.sha256(kid.encode()).hexdigest()[:32]}.{'json' if is_handle(material) else 'pem'}"


def _fill(
    records: Sequence[Record], own: str, made: Callable[[tuple[dict[str, Any], ...]], model.BundleModel]
) -> tuple[bytes, tuple[Record, ...]]:
    """The file of as many records as there is room for, and the rest.

    Where not all fit, namespaces get equal shares: who takes most is refused first, what he added last before what he
    had. So no tenant can take the room of another who needs less than he does.
    """

    def content(kept: Iterable[Record]) -> bytes:
        ordered = sorted(kept, key=lambda record: (record.namespace, record.name))
        return canonical.dumps(made(tuple(record.document() for record in ordered)).document())

    modest = [record for record in records if len(canonical.dumps(record.document())) <= MAX_RECORD_CONTENT]
    if not _is_small(content(modest)):
        modest = _by_share(modest, own)
    count = _longest(len(modest), lambda size: _is_small(content(modest[:size])))
    ids = {(record.namespace, record.name) for record in modest[:count]}
    refused = tuple(record for record in records if (record.namespace, record.name) not in ids)
    return (canonical.compress(content(modest[:count])) if count else b""), refused


def _by_share(records: Sequence[Record], own: str) -> list[Record]:
    """The records by how much their namespace takes with them and all its elder ones: as if all were filled evenly."""
    taken: dict[str, int] = defaultdict(int)
    levels: dict[int, int] = {}
    for position, record in enumerate(records):
        taken[record.namespace] += len(canonical.compress(canonical.dumps(record.document())))
        levels[position] = 0 if record.namespace == own else taken[record.namespace]
    return [records[position] for position in sorted(levels, key=lambda position: (levels[position], position))]


def _is_small(content: bytes) -> bool:
    return len(content) <= MAX_SHARD_CONTENT and len(canonical.compress(content)) <= MAX_SHARD_BYTES


def _longest(total: int, fits: Callable[[int], bool]) -> int:
    """The greatest number that fits, supposing that less always fits where more does."""
    if fits(total):
        return total
    low, high = 0, total
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _upstream(upstream: Upstream) -> model.Upstream:
    tailscale, headscale = upstream.tailscale, upstream.headscale
    if headscale is not None:
        kept = model.HeadscaleUpstream(api_url=headscale.api_url, credential=upstream.name)
        return model.Upstream(name=upstream.name, headscale=kept)
    if tailscale is None:  # pragma: no cover - exactly one member, says the model's rule
        return model.Upstream(name=upstream.name)
    identity = tailscale.workload_identity
    return model.Upstream(
        name=upstream.name,
        tailscale=model.TailscaleUpstream(
            api_url=tailscale.api_url,
            tailnet=tailscale.tailnet,
            credential=upstream.name if identity is None else "",
            workload_identity=model.WorkloadIdentity(
                client_id=identity.client_id,
                audience=identity.audience or f"api.tailscale.com/{identity.client_id}",
                scopes=identity.scopes,
                tags=identity.tags,
            )
            if identity is not None
            else None,
        ),
    )


def _bound(bound: Bound, own: str, selected: tuple[str, ...]) -> model.Bound:
    namespaces = {"Same": (own,), "All": ("*",), "Names": bound.namespaces.names, "Selector": selected}
    return model.Bound(
        name=bound.name,
        namespaces=namespaces[bound.namespaces.from_],
        upstreams=bound.upstreams,
        tailscale_scopes=bound.tailscale_scopes,
        tailscale_tags=bound.tailscale_tags,
        issuers=bound.issuers,
        key_sources=bound.key_sources,
        subject_audiences=bound.subject_audiences,
        audiences=bound.audiences,
        redirect_hosts=bound.redirect_hosts,
        grant_types=bound.grant_types,
        jwt_subject_prefixes=bound.jwt.subject_prefixes,
        jwt_claims=bound.jwt.claims,
        max_ttl=bound.max_ttl,
        upstream_lifetime=bound.upstream_lifetime,
        allow_unpinned=bound.allow_unpinned,
        max_policies=bound.max_policies,
    )
