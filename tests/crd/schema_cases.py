"""What schemas alone decide, with the verdict that the API server and Python must agree on."""

from __future__ import annotations

from typing import Any

_OIDC = {"issuer": "https://ci.example"}
_JWK = {"kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "kid": "k", "use": "sig", "alg": "ES256"}


def _oidc(**members: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"from": {"oidc": _OIDC | members}}


def _jwt(**members: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"grants": [{"name": "g", "jwt": {"audiences": ["a"]} | members}]}


VERDICTS: tuple[tuple[str, str, dict[str, Any], bool], ...] = (
    ("a number is no string", "TrustPolicy", _oidc(claims=[{"claim": "a", "exact": 65}]), False),
    ("a string is no number", "TrustPolicy", _oidc(claims=[{"claim": "a", "exactInteger": "65"}]), False),
    ("a string is no boolean", "TrustPolicy", _oidc(claims=[{"claim": "a", "exactBoolean": "true"}]), False),
    ("a boolean is no number", "TrustPolicy", _oidc(claims=[{"claim": "a", "exactInteger": True}]), False),
    ("the largest safe integer", "TrustPolicy", _oidc(claims=[{"claim": "a", "exactInteger": 2**53 - 1}]), True),
    ("an unsafe integer", "TrustPolicy", _oidc(claims=[{"claim": "a", "exactInteger": 2**53}]), False),
    ("null is absent", "TrustPolicy", _oidc(keys=None), True),
    ("a null within a list is not", "TrustPolicy", _oidc(claims=[None]), False),
    ("an unknown field", "TrustPolicy", _oidc(subjct={"exact": "a"}), False),
    ("a private key among the public ones", "TrustPolicy", _oidc(keys={"jwks": {"keys": [_JWK | {"d": "eA"}]}}), False),
    (
        "inline keys with expiry",
        "TrustPolicy",
        _oidc(keys={"jwks": {"keys": [_JWK], "expiryTime": "2026-12-20T10:00:00Z"}}),
        True,
    ),
    (
        "an expiry that is no time",
        "TrustPolicy",
        _oidc(keys={"jwks": {"keys": [_JWK], "expiryTime": "tomorrow"}}),
        False,
    ),
    ("no inline keys", "TrustPolicy", _oidc(keys={"jwks": {"keys": []}}), False),
    ("algorithm none", "TrustPolicy", _oidc(algorithms=["none"]), False),
    ("an http issuer", "TrustPolicy", _oidc(issuer="http://ci.example"), False),
    ("an issuer with a trailing slash, as Auth0 has it", "TrustPolicy", _oidc(issuer="https://t.auth0.com/"), True),
    ("an issuer with a query", "TrustPolicy", _oidc(issuer="https://ci.example/?a=b"), False),
    ("an issuer with a user", "TrustPolicy", _oidc(issuer="https://me@ci.example"), False),
    ("a jwksURI with a query", "TrustPolicy", _oidc(keys={"jwksURI": "https://ci.example/keys?appid=1"}), True),
    ("a jwksURI with a line break", "TrustPolicy", _oidc(keys={"jwksURI": "https://ci.example/keys\n"}), False),
    ("a scope with a blank", "TrustPolicy", _jwt(scopes=["a b"]), False),
    ("a scope with a quote", "TrustPolicy", _jwt(scopes=['a"b']), False),
    ("a scope with a bracket", "TrustPolicy", _jwt(scopes=["a[b]"]), True),
    ("a scope twice", "TrustPolicy", _jwt(scopes=["a", "a"]), False),
    ("no audience", "TrustPolicy", _jwt(audiences=[]), False),
    ("no grants", "TrustPolicy", {"grants": []}, False),
    ("a grant's name twice", "TrustPolicy", {"grants": [{"name": "g", "jwt": {"audiences": ["a"]}}] * 2}, False),
    ("a name with an umlaut", "TrustPolicy", {"grants": [{"name": "ü", "jwt": {"audiences": ["a"]}}]}, False),
    (
        "a tag without its prefix",
        "TrustPolicy",
        {"grants": [{"name": "g", "tailscaleAuthKey": {"upstream": "p", "tags": ["ci"]}}]},
        False,
    ),
    ("a duration in days", "TrustPolicy", _jwt(ttl="1d"), False),
    ("a duration as a number", "TrustPolicy", _jwt(ttl=300), False),
    ("a duration with a sign", "TrustPolicy", _jwt(ttl="+5m"), False),
    ("a duration with Arabic digits", "TrustPolicy", _jwt(ttl="\u0665m"), False),
    ("a duration with a line break", "TrustPolicy", _jwt(ttl="5m\n"), False),
    ("a list where an object belongs", "TrustPolicy", {"from": [_OIDC]}, False),
    ("an object where a list belongs", "TrustPolicy", {"grants": {"name": "g"}}, False),
    ("too many claims", "TrustPolicy", _oidc(claims=[{"claim": "a", "exact": "b"}] * 17), False),
    ("as many claims as may be", "TrustPolicy", _oidc(claims=[{"claim": "a", "exact": "b"}] * 16), True),
    ("a value of 256 astral characters", "TrustPolicy", _oidc(subject={"exact": "🜁" * 256}), True),
    ("a value of 257", "TrustPolicy", _oidc(subject={"exact": "a" * 257}), False),
    ("an issuer of ours with upper case", "IdentityProvider", {"issuer": "https://IdP.example"}, False),
    ("an issuer of ours with a trailing slash", "IdentityProvider", {"issuer": "https://idp.example/"}, False),
    ("an issuer of ours with port and path", "IdentityProvider", {"issuer": "https://idp.example:8443/a/b"}, True),
    ("an issuer of ours on plain http", "IdentityProvider", {"issuer": "http://127.0.0.1:8080"}, False),
    ("no signing keys", "IdentityProvider", {"signingKeys": []}, False),
    ("no replicas", "IdentityProvider", {"sts": {"replicas": 0}}, True),
    ("half a replica", "IdentityProvider", {"sts": {"replicas": 0.5}}, False),
    ("fewer than none", "IdentityProvider", {"sts": {"replicas": -1}}, False),
    ("an amount in words", "IdentityProvider", {"workload": {"resources": {"limits": {"cpu": "two"}}}}, False),
    ("a log level of another house", "IdentityProvider", {"workload": {"logLevel": "info"}}, False),
    ("a bound for nobody", "IdentityProvider", {"bounds": [{"name": "b"}]}, False),
    ("an algorithm of tomorrow", "SigningKey", {"algorithm": "ML-DSA-65"}, False),
    ("RSA of 1024 bits", "SigningKey", {"algorithm": "RS256", "rsaBits": 1024}, False),
    ("RSA of 4096 bits", "SigningKey", {"algorithm": "RS256", "rsaBits": 4096}, True),
    ("a revoked key id with a blank", "SigningKey", {"revokedKeyIDs": ["a b"]}, False),
    *(
        (f"a redirect to {uri!r}", "OAuthClient", {"redirectURIs": [uri]}, accepted)
        for uri, accepted in {
            "https://app.example": True,
            "https://app.example:8443/cb?a=b&c=(d)": True,
            "http://localhost/cb": True,
            "http://127.0.0.1:8000/cb": True,
            "http://[::1]/": True,
            "com.example.app:/cb": True,
            "com.example.app://cb": True,
            "http://app.example/cb": False,
            "http://localhost.evil.example/cb": False,
            "https://me@app.example/cb": False,
            "https://app.example/#cb": False,
            "https://app.example/*": False,
            "https://*.example/cb": False,
            "https://app.example\\@evil.example/cb": False,
            "https://app.example/c b": False,
            "https://app.example/cb\n": False,
            "https:///cb": False,
            "//app.example/cb": False,
            "javascript:alert(1)": False,
            "data:text/html,x": False,
            "app:/cb": False,
        }.items()
    ),
    ("a client id with a colon, which would break Basic", "OAuthClient", {"clientID": "a:b"}, False),
    ("a client id that is a URL", "OAuthClient", {"clientID": "https://billing.example"}, False),
    ("a client id of tsidp", "OAuthClient", {"clientID": "0123456789abcdef0123456789abcdef"}, True),
    ("a grant type nobody should use", "OAuthClient", {"grantTypes": ["password"]}, False),
    (
        "a private key among a client's",
        "OAuthClient",
        {"authMethod": "private_key_jwt", "jwks": {"keys": [_JWK | {"d": "eA"}]}},
        False,
    ),
    ("a client's public key", "OAuthClient", {"authMethod": "private_key_jwt", "jwks": {"keys": [_JWK]}}, True),
    ("PKCE by plain", "OAuthClient", {"pkce": "Plain"}, False),
    ("ID tokens without a signature", "OAuthClient", {"idTokenAlgorithm": "none"}, False),
)
"""What it is, kind, change to the minimal spec, whether it is accepted."""
