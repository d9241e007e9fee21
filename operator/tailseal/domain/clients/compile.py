"""Turns an OAuthClient's spec into what workers act on, with the defaults decided, or says why it must not be used.

The operator that accepts it and the worker that serves it run this same code on the same spec and settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from tailseal.api.findings import Finding, SpecError
from tailseal.api.oauthclient import DEFAULT_GRANT_TYPES, DEFAULT_SCOPES, Allow, OAuthClientSpec
from tailseal.api.reasons import Reason
from tailseal.api.times import parse_time
from tailseal.api.unsupported import unsupported
from tailseal.api.validation import parse_spec
from tailseal.domain import canonical
from tailseal.domain.bundle.model import Bound, ClientRecord, ClientSecret, Settings
from tailseal.domain.clients import redirects
from tailseal.domain.policy.expressions import patterns
from tailseal.domain.policy.source import leads_elsewhere
from tailseal.domain.tenancy import minting
from tailseal.domain.tenancy.bounding import CLIENT_PREFIX, allows, exceeds, is_reserved, is_unbounded, rules_for

PROTOCOL_CLAIMS: Final = minting.OUR_CLAIMS | {
    *("azp", "nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "s_hash", "sid", "events", "typ", "policy"),
}
"""Claims that the protocol sets: no client chooses them."""


@dataclass(frozen=True, slots=True)
class AllowedPeople:
    """Who may log in; one match is enough."""

    users: tuple[patterns.Test, ...] = ()
    groups: tuple[patterns.Test, ...] = ()
    tags: tuple[patterns.Test, ...] = ()
    capability: tuple[str, str] | None = None
    """Action and resource."""


@dataclass(frozen=True, slots=True)
class CompiledClient:
    """A client, ready to be served.

    Args:
        namespace: of the object.
        name: of the object.
        uid: of the object and its admission: what was issued to a former one of the same name, or to this one
            before it was taken away, is not this one's.
        client_id: its `client_id`.
        public: whether it cannot keep a secret.
        auth_methods: how it may authenticate at the token endpoint (OpenID Connect Core section 9).
        secrets: hashes of the secrets that count.
        jwks: its public keys as canonical JSON, if they stand in the spec.
        jwks_uri: where they are fetched from, else.
        jwks_expire_at: Unix seconds from which the keys in the spec count no more; None: as long as they are there.
        redirect_uris: as registered.
        pkce_required: whether it must use PKCE; else it must send a nonce.
        grant_types: how it may ask for tokens.
        scopes: that it may ask for.
        audiences: that its access tokens may be for, beside ourselves.
        opaque: whether its access tokens are opaque.
        id_token_algorithm: of its ID tokens; empty: RS256 where there is such a key, else the provider's default.
        sector: host that its pairwise subjects are for; empty: subjects are public.
        allow: who may log in; None: whom app capabilities let.
        claims: claims that it gets beside those of its scopes.
        post_logout_redirect_uris: where people may be sent to after logging out.
        backchannel_logout_uri: where it is told that somebody logged out; empty: nowhere.
        resources: services that it is, beside its client id.
        introduced: how it came to be known, if by no object: `registered` or `metadata`; people are asked before it
            gets anything.
    """

    namespace: str
    name: str
    uid: str
    client_id: str
    public: bool
    auth_methods: tuple[str, ...]
    secrets: tuple[ClientSecret, ...] = field(repr=False)
    jwks: bytes
    jwks_uri: str
    redirect_uris: tuple[str, ...]
    pkce_required: bool
    grant_types: frozenset[str]
    scopes: frozenset[str]
    audiences: frozenset[str]
    opaque: bool
    id_token_algorithm: str
    sector: str
    allow: AllowedPeople | None
    claims: frozenset[str]
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str = ""
    resources: frozenset[str] = frozenset()
    introduced: str = ""
    jwks_expire_at: float | None = None

    @property
    def has_secret(self) -> bool:
        """Whether it proves itself by a secret."""
        return not self.public and self.auth_methods != ("private_key_jwt",)


class ClientError(SpecError):
    """The client must not be used; `findings` say everything that is wrong with it."""


def client_id_of(namespace: str, name: str, spec: OAuthClientSpec) -> str:
    """The client id: the spec's, or one from the names, which is the same again after everything was re-created."""
    return spec.client_id or f"{CLIENT_PREFIX}{namespace}.{name}"


def accepted(record: ClientRecord, settings: Settings) -> CompiledClient | tuple[Finding, ...]:
    """The client, or why it must not be used."""
    try:
        return compile_client(record, settings)
    except ClientError as error:
        return error.findings


def chosen_ids(records: Iterable[ClientRecord]) -> frozenset[str]:
    """Client ids of these clients, all of which may be served, but for ids that are made from names."""
    return frozenset(record.spec["clientID"] for record in records if record.spec.get("clientID"))


def compile_client(record: ClientRecord, settings: Settings) -> CompiledClient:
    """The client, ready to be served.

    Args:
        record: the client as the API server stores it, with the hashes of its secrets.
        settings: of the provider that it names.

    Raises:
        ClientError: the spec is invalid, not supported yet, or beyond the provider's bounds.
    """
    try:
        spec = parse_spec(OAuthClientSpec, record.spec, loopback=settings.issuer.startswith("http://"))
    except SpecError as error:
        # So whoever expects to lose his permission cannot hide that behind a spec that nobody can read.
        raise ClientError((*error.findings, *_not_admitted(record.namespace, settings))) from None
    findings = [*unsupported(spec), *_wrong(spec), *_reserved(spec, settings)]
    expire_at = _expiry(spec, findings)
    allow = _people(spec.allow, findings) if spec.allow is not None else None
    findings += _beyond_rules(record.namespace, spec, settings)
    if findings:
        raise ClientError(findings)
    return replace(_compiled(record, spec, allow), jwks_expire_at=expire_at)


def _expiry(spec: OAuthClientSpec, findings: list[Finding]) -> float | None:
    text = spec.jwks.expiry_time if spec.jwks is not None else None
    try:
        return parse_time(text) if text is not None else None
    except ValueError:
        findings.append(Finding("spec.jwks.expiryTime", "must be an RFC 3339 time, such as 2026-12-20T10:00:00Z"))
        return None


def _compiled(record: ClientRecord, spec: OAuthClientSpec, allow: AllowedPeople | None) -> CompiledClient:
    public = spec.type == "Public"
    return CompiledClient(
        namespace=record.namespace,
        name=record.name,
        uid=record.uid,
        client_id=client_id_of(record.namespace, record.name, spec),
        public=public,
        auth_methods=_auth_methods(spec, public=public),
        secrets=record.secrets,
        jwks=canonical.dumps(spec.jwks.jwks()) if spec.jwks is not None else b"",
        jwks_uri=spec.jwks_uri or "",
        redirect_uris=spec.redirect_uris,
        pkce_required=spec.pkce != "OptionalWithNonce",
        grant_types=frozenset(spec.grant_types or DEFAULT_GRANT_TYPES),
        scopes=frozenset(spec.scopes or DEFAULT_SCOPES),
        audiences=frozenset(spec.audiences),
        opaque=spec.access_token_format == "Opaque",  # noqa: S105 - the name of a format
        id_token_algorithm=spec.id_token_algorithm or "",
        sector=_sector(spec) if spec.subject_type == "Pairwise" else "",
        allow=allow,
        claims=frozenset(spec.claims),
        post_logout_redirect_uris=spec.post_logout_redirect_uris,
        backchannel_logout_uri=spec.backchannel_logout_uri or "",
        resources=frozenset(spec.resources),
    )


def _auth_methods(spec: OAuthClientSpec, *, public: bool) -> tuple[str, ...]:
    if public:
        return ("none",)
    return (spec.auth_method,) if spec.auth_method else ("client_secret_basic", "client_secret_post")


def _sector(spec: OAuthClientSpec) -> str:
    """The one host that all redirects lead to (OpenID Connect Core section 8.1); empty if there are more, or none."""
    hosts = {redirects.host_of(uri) for uri in spec.redirect_uris}
    return next(iter(hosts)) if len(hosts) == 1 else ""


def _people(allow: Allow, findings: list[Finding]) -> AllowedPeople:
    found: dict[str, tuple[patterns.Test, ...]] = {}
    for member in ("users", "groups", "tags"):
        tests = []
        for position, pattern in enumerate(getattr(allow, member)):
            try:
                tests.append(patterns.glob(pattern))
            except patterns.PatternError as error:
                findings.append(Finding(f"spec.allow.{member}[{position}]", str(error)))
        found[member] = tuple(tests)
    needed = allow.capability
    return AllowedPeople(**found, capability=(needed.action, needed.resource) if needed is not None else None)


def _wrong(spec: OAuthClientSpec) -> Iterator[Finding]:
    """What CEL cannot say, or not cheaply."""
    if spec.subject_type == "Pairwise" and not _sector(spec):
        message = "Pairwise needs redirectURIs that all lead to one host: make several clients, or leave it out"
        yield Finding("spec.subjectType", message)
    for position, claim in enumerate(spec.claims):
        if claim in PROTOCOL_CLAIMS:
            message = f"claim {claim} is set by the IdentityProvider alone: leave it out"
            yield Finding(f"spec.claims[{position}]", message)


def _reserved(spec: OAuthClientSpec, settings: Settings) -> Iterator[Finding]:
    settings = settings.model_copy(update={"client_ids": settings.client_ids - {spec.client_id}})
    named = [("spec.clientID", spec.client_id)] if spec.client_id else []
    named += [(f"spec.audiences[{position}]", audience) for position, audience in enumerate(spec.audiences)]
    named += [(f"spec.resources[{position}]", resource) for position, resource in enumerate(spec.resources)]
    for path, value in named:
        if is_reserved(value, settings):
            message = f"{value} is reserved for this IdentityProvider, its clients and its upstreams: choose another"
            yield Finding(path, message, Reason.RESERVED_AUDIENCE)


def _beyond_rules(namespace: str, spec: OAuthClientSpec, settings: Settings) -> Iterable[Finding]:
    """What no single rule of the bounds allows; of several rules, what the most generous one lacks."""
    if is_unbounded(namespace, settings):
        return ()
    beyond = (tuple(_beyond(spec, rule)) for rule in rules_for(namespace, settings))
    return _not_admitted(namespace, settings) or min(beyond, key=len)


def _not_admitted(namespace: str, settings: Settings) -> tuple[Finding, ...]:
    """What no spec of the namespace can help."""
    if is_unbounded(namespace, settings) or rules_for(namespace, settings):
        return ()
    message = f"the IdentityProvider admits no clients of namespace {namespace}: its bounds must name it"
    return (Finding("spec.identityProviderRef", message, Reason.EXCEEDS_BOUNDS),)


def _led_to(spec: OAuthClientSpec) -> Iterator[tuple[str, str]]:
    """Every place that people, or we, are sent to, with its path in the spec."""
    lists = (("redirectURIs", spec.redirect_uris), ("postLogoutRedirectURIs", spec.post_logout_redirect_uris))
    for member, uris in lists:
        yield from ((f"spec.{member}[{position}]", uri) for position, uri in enumerate(uris))
    if spec.backchannel_logout_uri is not None:
        yield "spec.backchannelLogoutURI", spec.backchannel_logout_uri


def _beyond(spec: OAuthClientSpec, rule: Bound) -> Iterator[Finding]:
    # It is the audience of ID tokens, which another service may take for its own.
    if spec.client_id is not None and not allows(spec.client_id, rule.audiences):
        yield exceeds("spec.clientID", f"client id {spec.client_id} is an audience, too", "audiences")
    for path, uri in _led_to(spec):
        host = redirects.host_of(uri)
        if host not in rule.redirect_hosts:
            yield exceeds(path, f"host {host}", "redirectHosts")
    for number, grant_type in enumerate(spec.grant_types or DEFAULT_GRANT_TYPES):
        if grant_type not in rule.grant_types:
            path = f"spec.grantTypes[{number}]" if spec.grant_types else "spec.grantTypes"
            yield exceeds(path, f"grant type {grant_type}", "grantTypes")
    for member, values in (("audiences", spec.audiences), ("resources", spec.resources)):
        for number, audience in enumerate(values):
            if not allows(audience, rule.audiences):
                yield exceeds(f"spec.{member}[{number}]", f"audience {audience}", "audiences")
    if spec.jwks_uri is not None and (leads_elsewhere(spec.jwks_uri) or not allows(spec.jwks_uri, rule.key_sources)):
        yield exceeds("spec.jwksURI", f"keys from {spec.jwks_uri}", "keySources")
