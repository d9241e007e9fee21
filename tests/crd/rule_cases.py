"""Every rule of the CRDs, with an object that keeps it and one that breaks it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Spec = dict[str, Any]

MINIMAL: dict[str, Spec] = {
    "SigningKey": {},
    "IdentityProvider": {"issuer": "https://idp.corp.example", "signingKeys": [{"name": "corp"}]},
    "TrustPolicy": {
        "identityProviderRef": {"name": "corp"},
        "from": {"oidc": {"issuer": "https://ci.example"}},
        "grants": [{"name": "billing", "jwt": {"audiences": ["https://billing.corp.example"]}}],
    },
    "OAuthClient": {
        "identityProviderRef": {"name": "corp"},
        "redirectURIs": ["https://grafana.corp.example/login/generic_oauth"],
    },
}
"""The smallest spec of each kind that is accepted."""


@dataclass(frozen=True)
class Case:
    """Changes to the minimal spec; `was` is what the object said before, for rules about changes."""

    kind: str
    message: str
    keeps: Spec
    breaks: Spec
    was: Spec | None = None
    names: tuple[str, str] = field(default=("case", "case"))

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def obj(kind: str, change: Spec, name: str = "case") -> dict[str, Any]:
    """An object of the kind: the minimal spec, with the top-level members of `change` in place of its own."""
    return {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": deepcopy(MINIMAL[kind]) | deepcopy(change),
    }


def _key(message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("SigningKey", message, keeps, breaks)


def _idp(message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("IdentityProvider", message, keeps, breaks)


def _oidc(message: str, keeps: Spec, breaks: Spec) -> Case:
    issuer = {"issuer": "https://ci.example"}
    return Case("TrustPolicy", message, {"from": {"oidc": issuer | keeps}}, {"from": {"oidc": issuer | breaks}})


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


def _from(member: str, message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("TrustPolicy", message, {"from": {member: keeps}}, {"from": {member: breaks}})


def _client(message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("OAuthClient", message, keeps, breaks)


def _grant(message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("TrustPolicy", message, {"grants": [{"name": "g"} | keeps]}, {"grants": [{"name": "g"} | breaks]})


def _tailnet(message: str, keeps: Spec, breaks: Spec) -> Case:
    serve = {"mode": "Serve", "auth": {"authKeySecretRef": {"name": "key"}}}
    return _idp(message, {"tailnet": serve | keeps}, {"tailnet": serve | breaks})


def _bound(message: str, keeps: Spec, breaks: Spec) -> Case:
    everybody = {"name": "b", "namespaces": {"from": "All"}}
    return _idp(message, {"bounds": [everybody | keeps]}, {"bounds": [everybody | breaks]})


def _rotation(message: str, keeps: Spec, breaks: Spec) -> Case:
    return _key(message, {"rotation": keeps}, {"rotation": breaks})


_LONG_KEY = "k" * 318
_SELECT_ONE = {"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}}
_SELECT_NONE = {"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}
_OAUTH = {"oauthClientSecretRef": {"name": "s"}}
_FEDERATED = {"workloadIdentity": {"clientID": "c"}}
_STORE = {"name": "p", "publicURL": "https://cdn.example", "objectStore": {"bucket": "jwks"}}
_TOO_LONG = "metadata.name must have at most 45 characters: names of other objects are made from it"
_NOT_A_SERVICE = "metadata.name must begin with a letter and hold only a-z, 0-9 and -: a Service is named after it"

CASES: tuple[Case, ...] = (
    Case("SigningKey", _TOO_LONG, {}, {}, names=("k" * 45, "k" * 46)),
    _key("clockSkew must be from 0s to 10m", {"clockSkew": "10m"}, {"clockSkew": "601s"}),
    _key(
        "rsaBits is for the algorithms RS256 and PS256 only",
        {"algorithm": "PS256", "rsaBits": 4096},
        {"algorithm": "ES256", "rsaBits": 4096},
    ),
    _key(
        "rsaBits is for keys that the operator makes: one that is brought has its size; leave rsaBits out",
        {"algorithm": "RS256", "rsaBits": 4096, "source": {"generate": {}}},
        {"algorithm": "RS256", "rsaBits": 4096, "source": {"import": {"secretRef": {"name": "mine"}}}},
    ),
    _key(
        "rotation.publishLead must be at least clockSkew plus the longer of jwks.maxAge and 30s",
        {"clockSkew": "1s", "jwks": {"maxAge": "5s"}, "rotation": {"interval": "60s", "publishLead": "31s"}},
        {"clockSkew": "2s", "jwks": {"maxAge": "5s"}, "rotation": {"interval": "60s", "publishLead": "31s"}},
    ),
    _key("maxAge must be from 0s to 24h", {"jwks": {"maxAge": "0s"}}, {"jwks": {"maxAge": "25h"}}),
    _rotation("interval must be from 31s to 99999h", {"interval": "1441m"}, {"interval": "30s", "publishLead": "30s"}),
    _rotation(
        "publishLead must be from 30s to 99999h", {"publishLead": "719h"}, {"interval": "1h", "publishLead": "29s"}
    ),
    _rotation("stallAfter must be from 1s to 720h", {"stallAfter": "1s"}, {"stallAfter": "0s"}),
    _rotation(
        "publishLead must be shorter than interval",
        {"interval": "25h", "publishLead": "24h"},
        {"interval": "24h", "publishLead": "24h"},
    ),
    _key(
        "exactly one of generate, import, pkcs11 must be given",
        {"source": {"import": {"secretRef": {"name": "mine"}}}},
        {"source": {"generate": {}, "import": {"secretRef": {"name": "mine"}}}},
    ),
    Case("IdentityProvider", _TOO_LONG, {}, {}, names=("k" * 45, "k" * 46)),
    Case("IdentityProvider", _NOT_A_SERVICE, {}, {}, names=("a-9", "9a")),
    Case(
        "IdentityProvider",
        "issuer is immutable: create another object",
        {"issuer": "https://idp.corp.example", "idp": {"replicas": 2}},
        {"issuer": "https://other.corp.example"},
        was={},
    ),
    _idp(
        "at least one of sts.enabled and idp.enabled must be true",
        {"idp": {"enabled": False}},
        {"sts": {"enabled": False}, "idp": {"enabled": False}},
    ),
    _idp(
        "sts.tailsts.upstream must be the name of one of upstreams that is tailscale",
        {"sts": {"tailsts": {"upstream": "prod"}}, "upstreams": [{"name": "prod", "tailscale": _OAUTH}]},
        {"sts": {"tailsts": {"upstream": "prod"}}, "upstreams": [{"name": "test", "tailscale": _OAUTH}]},
    ),
    _bound("maxTTL must be from 5s to 24h", {"maxTTL": "5s"}, {"maxTTL": "4s"}),
    _bound(
        "selector goes with from: Selector, names with from: Names, and nothing with the others",
        {"namespaces": {"from": "Names", "names": ["team-a"]}},
        {"namespaces": {"from": "All", "names": ["team-a"]}},
    ),
    _bound(
        "values go with the operators In and NotIn, and are needed there",
        {"namespaces": _SELECT_ONE},
        {"namespaces": _SELECT_NONE},
    ),
    _idp(
        "keys must have 1 to 317 characters",
        {"workload": {"labels": {_LONG_KEY[1:]: "v"}}},
        {"workload": {"labels": {_LONG_KEY: "v"}}},
    ),
    _idp(
        "keys must be of cpu, memory, ephemeral-storage",
        {"workload": {"resources": {"limits": {"cpu": 2, "memory": "128Mi"}}}},
        {"workload": {"resources": {"limits": {"gpu": 2}}}},
    ),
    _idp(
        "exactly one of objectStore, probe must be given",
        {"publish": [_STORE]},
        {"publish": [{"name": "p", "publicURL": "https://cdn.example"}]},
    ),
    _idp(
        "a bucket with a dot in its name needs forcePathStyle: true, as no certificate covers its host",
        {"publish": [_STORE | {"objectStore": {"bucket": "jwks.corp", "forcePathStyle": True}}]},
        {"publish": [_STORE | {"objectStore": {"bucket": "jwks.corp"}}]},
    ),
    _idp(
        "endpoint must be https://HOST or https://HOST:PORT, without a path",
        {"publish": [_STORE | {"objectStore": {"bucket": "jwks", "endpoint": "https://s3.corp.example:9000"}}]},
        {"publish": [_STORE | {"objectStore": {"bucket": "jwks", "endpoint": "https://corp.example/s3"}}]},
    ),
    _idp(
        "publicURL must have no query: /.well-known/jwks.json is put at its end",
        {"publish": [_STORE | {"publicURL": "https://cdn.example/keys"}]},
        {"publish": [_STORE | {"publicURL": "https://cdn.example/keys?v=1"}]},
    ),
    _idp(
        "discovery is written to an objectStore only",
        {"publish": [_STORE | {"discovery": True}]},
        {"publish": [{"name": "p", "publicURL": "https://cdn.example", "probe": {}, "discovery": True}]},
    ),
    _idp(
        "cacheTTL must be from 0s to 24h",
        {"publish": [_STORE | {"cacheTTL": "24h"}]},
        {"publish": [_STORE | {"cacheTTL": "25h"}]},
    ),
    _idp("behind must be from 5s to 24h", {"staleness": {"behind": "5s"}}, {"staleness": {"behind": "4s"}}),
    _idp("unheard must be from 1m to 720h", {"staleness": {"unheard": "720h"}}, {"staleness": {"unheard": "721h"}}),
    _idp(
        "behind must not be longer than unheard",
        {"staleness": {"behind": "1h", "unheard": "1h"}},
        {"staleness": {"behind": "2h", "unheard": "1h"}},
    ),
    _idp(
        "type SQLite goes with sqlite (or nothing), type Postgres with postgres, and not both",
        {"storage": {"type": "Postgres", "postgres": {"urlSecretRef": {"name": "db"}}}},
        {"storage": {"type": "Postgres", "sqlite": {}}},
    ),
    _tailnet(
        "tags do not go with auth.authKeySecretRef: an auth key brings its own",
        {"tags": ["tag:idp"], "auth": _OAUTH},
        {"tags": ["tag:idp"]},
    ),
    _tailnet(
        "auth.oauthClientSecretRef needs tags: what an OAuth client brings in belongs to nobody",
        {"tags": ["tag:idp"], "auth": _OAUTH},
        {"auth": _OAUTH},
    ),
    _tailnet(
        "auth.workloadIdentity needs tags: what a federated identity brings in belongs to nobody",
        {"tags": ["tag:idp"], "auth": _FEDERATED},
        {"auth": _FEDERATED},
    ),
    _idp(
        "idp.replicas above 1 needs storage.type Postgres: replicas must agree on who is logged in",
        {"idp": {"replicas": 2}, "storage": {"type": "Postgres", "postgres": {"urlSecretRef": {"name": "db"}}}},
        {"idp": {"replicas": 2}, "storage": {"type": "SQLite"}},
    ),
    _idp(
        "with tailnet, idp.replicas is at most 8: each is a node of its own",
        {"idp": {"replicas": 9}, "storage": {"type": "Postgres", "postgres": {"urlSecretRef": {"name": "db"}}}},
        {
            "idp": {"replicas": 9},
            "storage": {"type": "Postgres", "postgres": {"urlSecretRef": {"name": "db"}}},
            "tailnet": {"mode": "Serve", "auth": {"authKeySecretRef": {"name": "k"}}},
        },
    ),
    _tailnet("port goes with mode Direct, and is needed there", {"mode": "Direct", "port": 8443}, {"mode": "Direct"}),
    _tailnet(
        "funnel goes with mode Serve only",
        {"funnel": {"enabled": True}},
        {"mode": "Direct", "port": 8443, "funnel": {"enabled": True}},
    ),
    _tailnet(
        "exactly one of authKeySecretRef, oauthClientSecretRef, workloadIdentity must be given",
        {"auth": _FEDERATED, "tags": ["tag:idp"]},
        {"auth": {}},
    ),
    _idp("idTokenTTL must be from 5s to 24h", {"tokens": {"idTokenTTL": "5s"}}, {"tokens": {"idTokenTTL": "4s"}}),
    _idp(
        "accessTokenTTL must be from 5s to 24h",
        {"tokens": {"accessTokenTTL": "24h"}},
        {"tokens": {"accessTokenTTL": "25h"}},
    ),
    _idp(
        "refreshTokenTTL must be from 1m to 8784h",
        {"tokens": {"refreshTokenTTL": "1m"}},
        {"tokens": {"refreshTokenTTL": "59s"}},
    ),
    _idp("clockSkew must be from 0s to 10m", {"tokens": {"clockSkew": "0s"}}, {"tokens": {"clockSkew": "11m"}}),
    _idp(
        "exactly one of tailscale, headscale must be given",
        {"upstreams": [{"name": "prod", "tailscale": _OAUTH}]},
        {"upstreams": [{"name": "prod"}]},
    ),
    _idp(
        "exactly one of oauthClientSecretRef, workloadIdentity must be given",
        {"upstreams": [{"name": "prod", "tailscale": _FEDERATED}]},
        {"upstreams": [{"name": "prod", "tailscale": _FEDERATED | _OAUTH}]},
    ),
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
    Case("OAuthClient", _TOO_LONG, {}, {}, names=("k" * 45, "k" * 46)),
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
