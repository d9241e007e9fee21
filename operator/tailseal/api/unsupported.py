"""What a spec may say already although this version cannot do it: reported with the field path, never ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tailseal.api.base import ApiModel, to_alias
from tailseal.api.findings import Finding, join_path
from tailseal.api.identityprovider import (
    BoundNamespaces,
    ClientIDMetadata,
    IdentityProviderSpec,
    Registration,
    Sqlite,
    Storage,
    Sts,
    TailscaleUpstream,
)
from tailseal.api.reasons import Reason
from tailseal.api.signingkey import KeySource
from tailseal.api.trustpolicy import From, Grant, JwtGrant, Oidc, Replay, TrustPolicySpec

_LATER: dict[tuple[type[ApiModel], str], Callable[[Any], bool]] = {
    (KeySource, "import_"): bool,
    (KeySource, "pkcs11"): bool,
    (IdentityProviderSpec, "tailnet"): bool,
    (IdentityProviderSpec, "publish"): bool,
    (Storage, "type"): "Postgres".__eq__,
    (Sqlite, "volume"): bool,
    (Registration, "dynamic"): "Enabled".__eq__,
    (ClientIDMetadata, "allowed_domains"): bool,
    (Sts, "tailsts"): bool,
    (TailscaleUpstream, "workload_identity"): bool,
    (BoundNamespaces, "from_"): "Selector".__eq__,
    (From, "github"): bool,
    (From, "gitlab"): bool,
    (From, "buildkite"): bool,
    (From, "circleci"): bool,
    (From, "terraform"): bool,
    (From, "kubernetes"): bool,
    (From, "tailnet"): bool,
    (From, "session"): bool,
    (Oidc, "condition"): bool,
    (Replay, "one_time"): bool,
    (TrustPolicySpec, "actors"): bool,
    (JwtGrant, "require_dpop"): bool,
    (JwtGrant, "claims"): bool,
    (Grant, "tailscale_auth_key"): bool,
}
"""Fields that this version cannot honour, with the question whether a value asks for it."""


def unsupported(spec: ApiModel, path: str = "spec") -> list[Finding]:
    """Everything in a spec that this version cannot do, as `NotSupportedYet` findings.

    Args:
        spec: a spec's model.
        path: where it stands.
    """
    return list(_walk(spec, path))


def _walk(model: ApiModel, path: str) -> Iterator[Finding]:
    given = model.model_fields_set  # what was left out asks for nothing
    for attribute in type(model).model_fields:
        if attribute not in given:
            continue
        value = getattr(model, attribute)
        asks = _LATER.get((type(model), attribute))
        if asks is not None and value is not None and asks(value):
            here = join_path(path, [to_alias(attribute)])
            yield Finding(here, "is not supported by this version yet: leave it out", Reason.NOT_SUPPORTED_YET)
        elif isinstance(value, ApiModel):
            yield from _walk(value, join_path(path, [to_alias(attribute)]))
        elif isinstance(value, tuple) and value and isinstance(value[0], ApiModel):
            for index, item in enumerate(value):
                yield from _walk(item, join_path(path, [to_alias(attribute), index]))
