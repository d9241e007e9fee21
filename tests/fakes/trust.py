"""Policies, settings and tokens for tests, each complete unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tailseal.domain.bundle.model import Bound, PolicyRecord, Settings, TailscaleUpstream, Upstream
from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.matchers import Verdict
from tailseal.domain.policy.source import KeySource, well_known
from tailseal.domain.policy.trust import Trust, Verified

ISSUER = "https://ci.foreign.example"
GITHUB = "https://token.actions.githubusercontent.com"
OURS = "https://idp.corp.example"
STS = "https://sts.corp.example"
BILLING = "https://billing.corp.example"
TAILSCALE = "https://api.tailscale.example"
NOW = 1_800_000_000.0

JWT_GRANT = {"name": "billing", "jwt": {"audiences": [BILLING], "scopes": ["invoices.read", "invoices.write"]}}
TAILSCALE_GRANT = {
    "name": "api",
    "tailscale": {"upstream": "prod", "scopes": ["devices:core:read", "dns:read"], "tags": ["tag:ci", "tag:test"]},
}
ANYTHING = Bound(
    name="anything",
    namespaces=("*",),
    upstreams=("*",),
    tailscale_scopes=("*",),
    tailscale_tags=("*",),
    issuers=("*",),
    key_sources=("*",),
    subject_audiences=("*",),
    audiences=("*",),
    max_ttl=86_400,
)


def settings(**changes: Any) -> Settings:  # noqa: ANN401 - any of its fields
    """Of the provider `identity/corp`, which lets every namespace do what any bound can allow."""
    fields: dict[str, Any] = {
        "issuer": OURS,
        "namespace": "identity",
        "name": "corp",
        "token_endpoint": f"{STS}/token",
        "subject_audiences": (OURS, STS),
        "upstreams": (
            Upstream(name="prod", tailscale=TailscaleUpstream(api_url=TAILSCALE, credential="prod")),
            Upstream(
                name="lab", tailscale=TailscaleUpstream(api_url="https://lab.tailscale.example", credential="lab")
            ),
        ),
        "bounds": (ANYTHING,),
    }
    return Settings(**fields | changes)


def spec(
    oidc: Mapping[str, Any] | None = None,
    grants: Sequence[Mapping[str, Any]] = (JWT_GRANT,),
    **members: Any,  # noqa: ANN401 - as manifests have it
) -> dict[str, Any]:
    """A spec as the API server stores it; by default it trusts everybody at `ISSUER`."""
    return {
        "identityProviderRef": {"name": "corp", "namespace": "identity"},
        "from": {"oidc": {"issuer": ISSUER} | dict(oidc or {})},
        "grants": [dict(grant) for grant in grants],
    } | members


def record(content: Mapping[str, Any] | None = None, policy: str = "team-a/deploy") -> PolicyRecord:
    """The spec as a record of the policy `<namespace>/<name>`."""
    namespace, name = policy.split("/")
    return PolicyRecord(
        namespace=namespace,
        name=name,
        uid=f"uid-{policy}",
        generation=1,
        spec=dict(content if content is not None else spec()),
    )


def compiled(
    oidc: Mapping[str, Any] | None = None,
    grants: Sequence[Mapping[str, Any]] = (JWT_GRANT,),
    policy: str = "team-a/deploy",
    *,
    under: Settings | None = None,
    **members: Any,  # noqa: ANN401 - as manifests have it
) -> CompiledPolicy:
    """The policy with that `from.oidc` and those grants, compiled."""
    return compile_policy(record(spec(oidc, grants, **members), policy), under or SETTINGS)


def verdict(meant: Trust, claims: Mapping[str, Any]) -> Verdict:
    """The first rule's verdict that is not `MATCH`, else `MATCH`."""
    return next((found for rule in meant.rules if (found := rule.test(claims)) is not Verdict.MATCH), Verdict.MATCH)


def subject(claims: Mapping[str, Any] | None = None, **changes: Any) -> Verified:  # noqa: ANN401 - any of its fields
    """A verified token of `ISSUER` for our token service."""
    everything: dict[str, Any] = {"iss": ISSUER, "sub": "job-1", "aud": STS, "iat": int(NOW) - 10} | dict(claims or {})
    audience = everything["aud"]
    fields: dict[str, Any] = {
        "source": KeySource(everything["iss"], "discovery", well_known(everything["iss"])),
        "algorithm": "RS256",
        "audiences": (audience,) if isinstance(audience, str) else tuple(audience),
        "claims": everything,
    }
    return Verified(**fields | changes)


SETTINGS = settings()
