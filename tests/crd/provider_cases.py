"""Every rule of SigningKeys and IdentityProviders."""

from __future__ import annotations

from crd.cases import TOO_LONG, Case, Spec

_LONG_KEY = "k" * 318
_SELECT_ONE = {"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}}
_SELECT_NONE = {"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}
_OAUTH = {"oauthClientSecretRef": {"name": "s"}}
_FEDERATED = {"workloadIdentity": {"clientID": "c"}}
_STORE = {"name": "p", "publicURL": "https://cdn.example", "objectStore": {"bucket": "jwks"}}
_NOT_A_SERVICE = "metadata.name must begin with a letter and hold only a-z, 0-9 and -: a Service is named after it"


def _key(message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("SigningKey", message, keeps, breaks)


def _idp(message: str, keeps: Spec, breaks: Spec) -> Case:
    return Case("IdentityProvider", message, keeps, breaks)


_SERVED = {"mode": "Serve", "auth": {"authKeySecretRef": {"name": "key"}}}


def _tailnet(message: str, keeps: Spec, breaks: Spec) -> Case:
    return _idp(message, {"tailnet": _SERVED | keeps}, {"tailnet": _SERVED | breaks})


def _bound(message: str, keeps: Spec, breaks: Spec) -> Case:
    everybody = {"name": "b", "namespaces": {"from": "All"}}
    return _idp(message, {"bounds": [everybody | keeps]}, {"bounds": [everybody | breaks]})


def _rotation(message: str, keeps: Spec, breaks: Spec) -> Case:
    return _key(message, {"rotation": keeps}, {"rotation": breaks})


CASES: tuple[Case, ...] = (
    Case("SigningKey", TOO_LONG, {}, {}, names=("k" * 45, "k" * 46)),
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
    Case("IdentityProvider", TOO_LONG, {}, {}, names=("k" * 45, "k" * 46)),
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
    _tailnet(
        "keys must be of cpu, memory, ephemeral-storage",
        {"resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "256Mi", "ephemeral-storage": "1Gi"}}},
        {"resources": {"limits": {"devices.example/kvm": 1}}},
    ),
    _tailnet("port goes with mode Direct, and is needed there", {"mode": "Direct", "port": 8443}, {"mode": "Direct"}),
    _idp(
        "with tailnet.service, the issuer's host begins with its name: https://idp.<tailnet> for svc:idp",
        {"tailnet": _SERVED | {"service": "svc:idp"}, "issuer": "https://idp.tail1234.ts.net"},
        {"tailnet": _SERVED | {"service": "svc:login"}, "issuer": "https://idp.tail1234.ts.net"},
    ),
    _tailnet(
        "service goes with mode Serve only: what a Service forwards does not say whose it is",
        {"service": "svc:idp"},
        {"service": "svc:idp", "mode": "Direct", "port": 8443},
    ),
    _tailnet(
        "sharedBy goes with mode Direct only: `tailscale serve` answers by the node's own name",
        {"sharedBy": "DNS", "mode": "Direct", "port": 8443},
        {"sharedBy": "DNS"},
    ),
    _tailnet(
        "funnel does not go with service: it leads to one node's own name",
        {"service": "svc:idp"},
        {"service": "svc:idp", "funnel": {"enabled": True}},
    ),
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
)
