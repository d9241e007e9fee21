"""Every rule of TrustPolicies and OAuthClients."""

from __future__ import annotations

from crd.cases import TOO_LONG, Case, Spec

_BLOCKS: dict[str, Spec] = {
    "github": {"ownerID": "65"},
    "gitlab": {"projectID": "7"},
    "buildkite": {"organization": "acme"},
    "circleci": {"organizationID": "12345678-1234-1234-1234-123456789012"},
    "terraform": {"organizationID": "org-1"},
    "kubernetes": {"issuer": "https://cluster.example", "namespaces": ["shop"]},
    "session": {},
}
"""The least of every typed block that tokens can be meant by."""


def _oidc(message: str, keeps: Spec, breaks: Spec) -> Case:
    issuer = {"issuer": "https://ci.example"}
    return Case("TrustPolicy", message, {"from": {"oidc": issuer | keeps}}, {"from": {"oidc": issuer | breaks}})


def _from(member: str, message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("TrustPolicy", message, {"from": {member: keeps}}, {"from": {member: breaks}})


def _client(message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("OAuthClient", message, keeps, breaks)


def _grant(message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("TrustPolicy", message, {"grants": [{"name": "g"} | keeps]}, {"grants": [{"name": "g"} | breaks]})


CASES: tuple[Case, ...] = (
    Case(
        "TrustPolicy",
        "identityProviderRef is immutable: create another object",
        {"enforcement": "Audit"},
        {"identityProviderRef": {"name": "other"}},
        was={},
    ),
    Case(
        "TrustPolicy",
        "exactly one of oidc, github, gitlab, buildkite, circleci, terraform, kubernetes, tailnet, session "
        "must be given",
        {"from": {"github": {"ownerID": "65"}}, "actors": [{"session": {}}]},
        {"from": {"github": {"ownerID": "65"}, "gitlab": {}}},
    ),
    _from(
        "github",
        "repository is the name alone, and goes with owner or ownerID: anybody may have one of that name",
        {"ownerID": "65", "repository": "app"},
        {"repository": "app"},
    ),
    _from(
        "github",
        "repository is the name alone, and goes with owner or ownerID: anybody may have one of that name",
        {"owner": "acme", "repository": "app"},
        {"owner": "acme", "repository": "acme/app"},
    ),
    *(
        _from(
            member,
            "keys and caBundle go with issuer only: the public service has its own",
            {"issuer": "https://git.corp.example", "keys": {"jwksURI": "https://git.corp.example/keys"}},
            {"keys": {"jwksURI": "https://git.corp.example/keys"}},
        )
        for member in ("github", "gitlab", "terraform")
    ),
    _oidc(
        "exactly one of discovery, jwksURI, jwks must be given",
        {"keys": {"discovery": {}}},
        {"keys": {"discovery": {}, "jwksURI": "https://ci.example/keys"}},
    ),
    _oidc("maxAge must be from 1s to 168h", {"maxAge": "1s"}, {"maxAge": "0s"}),
    *(
        _from(
            member,
            "maxAge must be from 1s to 168h",
            block | {"maxAge": "168h", "replay": {"oneTime": True}, "condition": "true"},
            block | {"maxAge": "169h"},
        )
        for member, block in _BLOCKS.items()
    ),
    _oidc(
        "exactly one of claim, path must be given",
        {"claims": [{"path": ["a", "b"], "exact": "x"}]},
        {"claims": [{"claim": "a", "path": ["a", "b"], "exact": "x"}]},
    ),
    _oidc(
        "exactly one of exact, exactInteger, exactBoolean, exactDecimal, oneOf, glob, regex, present must be given",
        {"claims": [{"claim": "a", "exactInteger": 0}, {"claim": "b", "exactBoolean": False}]},
        {"claims": [{"claim": "a", "exactInteger": 0, "exactBoolean": False}]},
    ),
    _oidc(
        "match does not go with present",
        {"claims": [{"claim": "a", "glob": "x*", "match": "Any"}]},
        {"claims": [{"claim": "a", "present": True, "match": "Any"}]},
    ),
    _oidc("exactly one of exact, glob, regex must be given", {"subject": {"exact": ""}}, {"subject": {}}),
    Case(
        "TrustPolicy",
        "at least one of users, groups, tags, nodes, capability must be given",
        {"from": {"tailnet": {"tags": ["tag:ci"]}}},
        {"from": {"tailnet": {"tags": []}}},
    ),
    _grant(
        "exactly one of jwt, tailscale, tailscaleAuthKey must be given",
        {"tailscale": {"upstream": "prod", "scopes": ["devices:core:read"]}},
        {"jwt": {"audiences": ["a"]}, "tailscale": {"upstream": "prod", "scopes": ["devices:core:read"]}},
    ),
    _grant(
        "exactly one of string, strings, integer, boolean must be given",
        {"jwt": {"audiences": ["a"], "claims": [{"name": "b", "strings": "claims.b"}]}},
        {"jwt": {"audiences": ["a"], "claims": [{"name": "b", "string": "claims.b", "boolean": "claims.b"}]}},
    ),
    _grant(
        "subjectPrefix goes with subject only",
        {"jwt": {"audiences": ["a"], "subject": "claims.sub", "subjectPrefix": "ci:"}},
        {"jwt": {"audiences": ["a"], "subjectPrefix": "ci:"}},
    ),
    _grant(
        "ttl must be from 5s to 24h",
        {"jwt": {"audiences": ["a"], "ttl": "24h"}},
        {"jwt": {"audiences": ["a"], "ttl": "4s"}},
    ),
    _grant(
        "expiry must be from 1m to 24h",
        {"tailscaleAuthKey": {"upstream": "prod", "tags": ["tag:ci"], "expiry": "1m"}},
        {"tailscaleAuthKey": {"upstream": "prod", "tags": ["tag:ci"], "expiry": "59s"}},
    ),
    Case("OAuthClient", TOO_LONG, {}, {}, names=("k" * 45, "k" * 46)),
    Case(
        "OAuthClient",
        "identityProviderRef is immutable: create another object",
        {"pkce": "OptionalWithNonce"},
        {"identityProviderRef": {"name": "corp", "namespace": "other"}},
        was={},
    ),
    Case(
        "OAuthClient",
        "clientID is immutable, also if it was left out: create another object",
        {"clientID": "grafana", "scopes": ["openid"]},
        {"clientID": "other"},
        was={"clientID": "grafana"},
    ),
    Case(
        "OAuthClient",
        "clientID is immutable, also if it was left out: create another object",
        {},
        {"clientID": "grafana"},
        was={},
    ),
    _client(
        "clientID must not begin with `oauthclient.`: so do those that are made from names",
        {"clientID": "0123.oauthclient"},
        {"clientID": "oauthclient.other.grafana"},
    ),
    *(
        _client(
            "a Public client can keep no secret: secretRef, secretName, jwks, jwksURI and authMethod go with "
            "type: Confidential",
            {"type": "Public", "authMethod": "none"},
            {"type": "Public"} | breaks,
        )
        for breaks in (
            {"secretRef": {"name": "mine"}},
            {"secretName": "theirs"},
            {"authMethod": "private_key_jwt", "jwksURI": "https://app.example/jwks"},
            {"authMethod": "client_secret_post"},
        )
    ),
    _client(
        "authMethod none goes with type: Public only", {"authMethod": "client_secret_post"}, {"authMethod": "none"}
    ),
    *(
        _client(
            "exactly one of jwks, jwksURI goes with authMethod private_key_jwt, none with the others",
            {"authMethod": "private_key_jwt", "jwksURI": "https://app.example/jwks"},
            breaks,
        )
        for breaks in (
            {"authMethod": "private_key_jwt"},
            {"jwksURI": "https://app.example/jwks"},
            {"authMethod": "private_key_jwt", "jwksURI": "https://app.example/jwks", "jwks": {"keys": [{"kty": "EC"}]}},
        )
    ),
    _client(
        "secretRef goes with a client_secret authMethod only",
        {"secretRef": {"name": "mine"}, "authMethod": "client_secret_basic"},
        {
            "secretRef": {"name": "mine"},
            "authMethod": "private_key_jwt",
            "jwksURI": "https://app.example/jwks",
        },
    ),
    _client(
        "secretName must be another than that of secretRef: it is written, that one is read",
        {"secretRef": {"name": "mine"}, "secretName": "theirs"},
        {"secretRef": {"name": "mine"}, "secretName": "mine"},
    ),
    _client(
        "pkce: OptionalWithNonce goes with type: Confidential only",
        {"pkce": "OptionalWithNonce"},
        {"type": "Public", "pkce": "OptionalWithNonce"},
    ),
    *(
        _client("redirectURIs go with the grant type authorization_code, and are needed there", keeps, breaks)
        for keeps, breaks in (
            ({"grantTypes": []}, {"redirectURIs": []}),
            ({"grantTypes": ["client_credentials"], "redirectURIs": []}, {"grantTypes": ["client_credentials"]}),
        )
    ),
    _client(
        "refresh_token goes with authorization_code or the device code grant only",
        {"grantTypes": ["refresh_token", "urn:ietf:params:oauth:grant-type:device_code"], "redirectURIs": []},
        {"grantTypes": ["refresh_token", "client_credentials"], "redirectURIs": []},
    ),
    _client(
        "client_credentials goes with type: Confidential only",
        {"grantTypes": ["authorization_code", "client_credentials"]},
        {"type": "Public", "grantTypes": ["authorization_code", "client_credentials"]},
    ),
    _client(
        "at least one of users, groups, tags, capability must be given, or allow left out",
        {"allow": {"groups": ["sre"]}},
        {"allow": {"groups": []}},
    ),
)
