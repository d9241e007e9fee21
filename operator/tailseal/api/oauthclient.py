"""OAuthClient: an application that people log in to, or that asks for tokens in its own name."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import StringConstraints

from tailseal.api.base import ApiModel, Items, Rule
from tailseal.api.conditions import Conditions
from tailseal.api.fields import Audience, HttpsURL, ObjectName, Scope, SecretRef
from tailseal.api.signingkey import Algorithm
from tailseal.api.trustpolicy.oidc import InlineJwks
from tailseal.api.trustpolicy.providers import CallerCapability
from tailseal.api.trustpolicy.spec import ProviderRef

ClientType = Literal["Public", "Confidential"]
AuthMethod = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
GrantType = Literal[
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
]

DEFAULT_GRANT_TYPES: Final[tuple[GrantType, ...]] = ("authorization_code", "refresh_token")
"""What `grantTypes` is if it is left out."""

DEFAULT_SCOPES: Final = ("openid", "profile", "email", "groups")
"""What `scopes` is if it is left out."""

_LOCAL: Final = r"http://(127\.0\.0\.1|localhost|\[::1\])"
_HOSTED: Final = r"https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
_PRIVATE: Final = r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:"
_REST: Final = r"[/?][!$-)+-;=?-\[\]_a-z~]*"
REDIRECT_URI: Final = f"^(({_HOSTED}|{_LOCAL})(:[0-9]{{1,5}})?({_REST})?|{_PRIVATE}/[!$-)+-;=?-\\[\\]_a-z~]*)$"
"""https anywhere, http on this very machine, or a scheme in reverse domain order (RFC 8252 section 7): no fragment,
no user, and no `*`, which would mean itself."""

RedirectURI = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=REDIRECT_URI)]
ClientID = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._~-]*$")]
Person = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
"""A value, or a glob: `*` stays within a part between `/ : @`."""
ClaimName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[!-~]+$")]

_GRANTS: Final = "(has(self.grantTypes) && self.grantTypes.size() > 0 ? self.grantTypes : ['authorization_code'])"
_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"


class Allow(ApiModel):
    """Who may log in; one match is enough."""

    rules: ClassVar = (
        Rule(
            cel="has(self.capability) || (has(self.users) && self.users.size() > 0) || "
            "(has(self.groups) && self.groups.size() > 0) || (has(self.tags) && self.tags.size() > 0)",
            message="at least one of users, groups, tags, capability must be given, or allow left out",
            holds=lambda self: bool(self.users or self.groups or self.tags or self.capability),
        ),
    )

    users: Annotated[tuple[Person, ...], Items(64, "set")] = ()
    """Login names, such as `ana@corp.example` or `*@corp.example`."""
    groups: Annotated[tuple[Person, ...], Items(64, "set")] = ()
    """Groups, as capabilities grant them."""
    tags: Annotated[tuple[Person, ...], Items(64, "set")] = ()
    """ACL tags of nodes, such as `tag:ci`."""
    capability: CallerCapability | None = None
    """An app capability that the caller must have been granted."""


def _grants(self: OAuthClientSpec) -> tuple[str, ...]:
    return self.grant_types or DEFAULT_GRANT_TYPES


def _is_public(self: OAuthClientSpec) -> bool:
    return self.type == "Public"


class OAuthClientSpec(ApiModel):
    """An application that people log in to, or that asks for tokens in its own name."""

    rules: ClassVar = (
        Rule(
            cel="self.identityProviderRef == oldSelf.identityProviderRef",
            message="identityProviderRef is immutable: create another object",
        ),
        Rule(
            cel="has(self.clientID) == has(oldSelf.clientID) && "
            "(!has(self.clientID) || self.clientID == oldSelf.clientID)",
            message="clientID is immutable, also if it was left out: create another object",
        ),
        Rule(
            cel="!has(self.clientID) || !self.clientID.startsWith('oauthclient.')",
            message="clientID must not begin with `oauthclient.`: so do those that are made from names",
            holds=lambda self: not (self.client_id or "").startswith("oauthclient."),
        ),
        Rule(
            cel="!has(self.type) || self.type != 'Public' || (!has(self.secretRef) && !has(self.secretName) && "
            "!has(self.jwks) && !has(self.jwksURI) && (!has(self.authMethod) || self.authMethod == 'none'))",
            message="a Public client can keep no secret: secretRef, secretName, jwks, jwksURI and authMethod go with "
            "type: Confidential",
            holds=lambda self: (
                not _is_public(self)
                or (
                    [self.secret_ref, self.secret_name, self.jwks, self.jwks_uri] == [None] * 4
                    and self.auth_method in {None, "none"}
                )
            ),
        ),
        Rule(
            cel="!has(self.authMethod) || self.authMethod != 'none' || (has(self.type) && self.type == 'Public')",
            message="authMethod none goes with type: Public only",
            holds=lambda self: self.auth_method != "none" or _is_public(self),
        ),
        Rule(
            cel="(has(self.authMethod) && self.authMethod == 'private_key_jwt') "
            "== (has(self.jwks) || has(self.jwksURI)) && !(has(self.jwks) && has(self.jwksURI))",
            message="exactly one of jwks, jwksURI goes with authMethod private_key_jwt, none with the others",
            holds=lambda self: (
                (self.auth_method == "private_key_jwt") == (self.jwks is not None or self.jwks_uri is not None)
                and (self.jwks is None or self.jwks_uri is None)
            ),
            union=("jwks", "jwks_uri"),
        ),
        Rule(
            cel="!has(self.secretRef) || !has(self.authMethod) || self.authMethod != 'private_key_jwt'",
            message="secretRef goes with a client_secret authMethod only",
            holds=lambda self: self.secret_ref is None or self.auth_method != "private_key_jwt",
        ),
        Rule(
            cel="!has(self.secretRef) || !has(self.secretName) || self.secretRef.name != self.secretName",
            message="secretName must be another than that of secretRef: it is written, that one is read",
            holds=lambda self: self.secret_ref is None or self.secret_ref.name != self.secret_name,
        ),
        Rule(
            cel="!has(self.pkce) || self.pkce == 'Required' || !has(self.type) || self.type == 'Confidential'",
            message="pkce: OptionalWithNonce goes with type: Confidential only",
            holds=lambda self: self.pkce != "OptionalWithNonce" or not _is_public(self),
        ),
        Rule(
            cel=f"('authorization_code' in {_GRANTS}) == (has(self.redirectURIs) && self.redirectURIs.size() > 0)",
            message="redirectURIs go with the grant type authorization_code, and are needed there",
            holds=lambda self: ("authorization_code" in _grants(self)) == bool(self.redirect_uris),
        ),
        Rule(
            cel=f"!has(self.grantTypes) || !('refresh_token' in self.grantTypes) || "
            f"'authorization_code' in self.grantTypes || '{_DEVICE}' in self.grantTypes",
            message="refresh_token goes with authorization_code or the device code grant only",
            holds=lambda self: (
                "refresh_token" not in _grants(self) or not {"authorization_code", _DEVICE}.isdisjoint(_grants(self))
            ),
        ),
        Rule(
            cel="!has(self.type) || self.type != 'Public' || !has(self.grantTypes) || "
            "!('client_credentials' in self.grantTypes)",
            message="client_credentials goes with type: Confidential only",
            holds=lambda self: not _is_public(self) or "client_credentials" not in self.grant_types,
        ),
    )

    identity_provider_ref: ProviderRef
    """The IdentityProvider that people log in with. Immutable. From another namespace only within its `bounds`."""
    client_id: ClientID | None = None
    """The `client_id`, which is also the audience of its ID tokens. Immutable; of two with the same, the first counts.
    Left out, `oauthclient.<namespace>.<name>`. One of one's own must be within the bounds' `audiences`."""
    type: ClientType | None = None
    """Confidential: it has a secret or key (a server). Public: it cannot keep one (a browser or desktop application).
    Confidential if left out."""
    auth_method: AuthMethod | None = None
    """How it proves who it is at the token endpoint; left out, client_secret_basic or client_secret_post, as it likes;
    none for a public one."""
    jwks: InlineJwks | None = None
    """Its public keys, for private_key_jwt."""
    jwks_uri: HttpsURL | None = None
    """Where its public keys are fetched from, for private_key_jwt."""
    secret_ref: SecretRef | None = None
    """A Secret with a `client_secret` of one's own: 32 to 128 visible characters, drawn at random. Left out, the
    operator makes one."""
    secret_name: ObjectName | None = None
    """Name of the Secret that is written for the application; `<name>-oauthclient` if left out."""
    redirect_uris: Annotated[tuple[RedirectURI, ...], Items(16, "set")] = ()
    """Where people are sent back to, compared character by character; of http on this very machine any port will do."""
    post_logout_redirect_uris: Annotated[tuple[RedirectURI, ...], Items(16, "set")] = ()
    """Where people may be sent back to after they logged out, compared like `redirectURIs`."""
    backchannel_logout_uri: HttpsURL | None = None
    """Where it is told that somebody logged out (OpenID Connect Back-Channel Logout); left out, nowhere."""
    pkce: Literal["Required", "OptionalWithNonce"] | None = None
    """Required (if left out), or OptionalWithNonce for a confidential client that knows no PKCE but sends a nonce."""
    grant_types: Annotated[tuple[GrantType, ...], Items(5, "set")] = ()
    """How it may ask for tokens; left out, authorization_code and refresh_token."""
    scopes: Annotated[tuple[Scope, ...], Items(32, "set")] = ()
    """Scopes that it may ask for; left out, openid, profile, email and groups."""
    audiences: Annotated[tuple[Audience, ...], Items(8, "set")] = ()
    """Services that its access tokens may be for (`resource`); left out, only ourselves."""
    resources: Annotated[tuple[Audience, ...], Items(8, "set")] = ()
    """Services that it is itself, beside its `client_id`: it may introspect access tokens that are for them."""
    access_token_format: Literal["JWT", "Opaque"] | None = None
    """JWT (RFC 9068) if left out, or Opaque, to be asked about at the introspection endpoint."""
    id_token_algorithm: Algorithm | None = None
    """What its ID tokens are signed with; left out, RS256 where the provider has such a key, else its default."""
    subject_type: Literal["Public", "Pairwise"] | None = None
    """Public: the same `sub` everywhere; this if left out. Pairwise: one of its own for each host redirected to."""
    allow: Allow | None = None
    """Who may log in; left out, whom an app capability grants `login` on `client/<client id>`."""
    claims: Annotated[tuple[ClaimName, ...], Items(16, "set")] = ()
    """Claims that it gets beside those of its scopes: `node`, `nid`, `tailnet`, `uid`, `addresses`, `key`, or names of
    claims that capabilities grant."""


class OAuthClientStatus(ApiModel):
    """What was seen of the client."""

    observed_generation: int | None = None
    """Generation of the spec that this status is about."""
    client_id: Annotated[str, StringConstraints(max_length=128)] | None = None
    """The `client_id`."""
    secret_name: Annotated[str, StringConstraints(max_length=253)] | None = None
    """The Secret for the application; absent for a public client."""
    conditions: Conditions = ()
    """Accepted, ResolvedRefs, Programmed, Ready; Reconciling and Stalled while under way or stuck."""
