"""Some hundred requests to an OpenID provider, good and bad, to be sent to any two of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

SECRET: Final = "0123456789abcdef" * 2
REDIRECT: Final = "https://app.example/cb"
BYE: Final = "https://app.example/bye"
API: Final = "https://api.example"
VERIFIER: Final = "v" * 43
CHALLENGE: Final = base64.urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CODE: Final = ("authorization_code", "refresh_token")
DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

WEB: Final = ("web", SECRET)
OTHER: Final = ("other", SECRET)

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Sent:
    """A request. In its values, `{code}`, `{access}`, `{refresh}`, `{id}` stand for fresh ones of client `web`.

    Args:
        name: what it tries.
        method: of the request.
        path: of the endpoint.
        fields: of the query or, where the method has one, of the body.
        auth: id and secret for HTTP Basic.
        headers: further ones.
        body: in place of the fields.
        twice: whether it is sent a second time, which then counts.
    """

    name: str
    method: str
    path: str
    fields: Fields = ()
    auth: tuple[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    twice: bool = False

    @property
    def key(self) -> str:
        """What no other request has."""
        return f"{self.method} {self.path}: {self.name}"


def _authorization(**changes: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - a text, a list of them, or None
    asked = {
        "client_id": "web",
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "openid",
        "state": "s1",
        "nonce": "n1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    found: list[tuple[str, str]] = []
    for name, value in (asked | changes).items():
        found += [(name, each) for each in ([] if value is None else value if isinstance(value, list) else [value])]
    return found


_VALUES: Final[Mapping[str, Sequence[str]]] = {
    "response_type": ("token", "id_token", "none", "code id_token", "code token", "foo", "code code"),
    "response_mode": ("query", "fragment", "form_post", "web_message", "jwt", "foo"),
    "prompt": ("none", "login", "consent", "select_account", "none login", "foo", "login consent"),
    "max_age": ("0", "10", "abc", "-1", "1.5"),
    "scope": ("foo", "openid foo", "email", "openid email", "openid offline_access", "openid  email", 'openid "x"'),
    "code_challenge": ("short", "x" * 129, "+" * 43),
    "code_challenge_method": ("plain", "foo", "s256"),
    "redirect_uri": (
        "https://evil.example",
        f"{REDIRECT}/",
        f"{REDIRECT}?a=b",
        f"{REDIRECT}#x",
        "https://app.example/cb/..",
        "HTTPS://app.example/cb",
        "javascript:alert(1)",
        "relative",
    ),
    "client_id": ("unknown", "web ", "WEB"),
    "request": ("x.y.z",),
    "request_uri": ("https://app.example/request", "urn:ietf:params:oauth:request_uri:unknown"),
    "registration": ("{}",),
    "claims": ("{", "[]", "{}", '{"id_token":{"email":null}}', '{"id_token":{"sub":{"value":"somebody"}}}'),
    "resource": (API, "https://other.example", f"{API}#x", "relative"),
    "display": ("page", "foo"),
    "ui_locales": ("de",),
    "login_hint": ("ana@corp.example",),
    "id_token_hint": ("x.y.z",),
    "acr_values": ("urn:x",),
    "dpop_jkt": ("x" * 43, "short"),
    "unheard_of": ("x",),
    "state": ("a b&c=d",),
}
_USUAL: Final = ("client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge")


def authorizations() -> Iterator[Sent]:
    """At the authorization endpoint."""
    cases = {"everything right": _authorization()}
    for name in (*_USUAL, "code_challenge_method", "nonce"):
        cases[f"no {name}"] = _authorization(**{name: None})
        cases[f"empty {name}"] = _authorization(**{name: ""})
    for name in _USUAL:
        cases[f"{name} twice"] = [*_authorization(), *(pair for pair in _authorization() if pair[0] == name)]
    for name, values in _VALUES.items():
        cases |= {f"{name}={value}": _authorization(**{name: value}) for value in values}
    cases["no PKCE"] = _authorization(code_challenge=None, code_challenge_method=None)
    cases["several resources"] = _authorization(resource=[API, API])
    cases["unheard_of twice"] = [*_authorization(), ("unheard_of", "a"), ("unheard_of", "b")]
    cases["a client without codes"] = _authorization(client_id="machine")
    cases["a public client"] = _authorization(client_id="spa")
    cases["nothing"] = []
    for name, fields in cases.items():
        yield Sent(name, "GET", "/authorize", fields)
        yield Sent(name, "POST", "/authorize", fields)
    yield Sent("everything right", "PUT", "/authorize", _authorization())


def tokens() -> Iterator[Sent]:
    """At the token endpoint."""
    yield from _proofs("/token", [("grant_type", "client_credentials")])
    cases = {**_grant_types(), **_codes(), **_refreshes(), **_without_a_person()}
    for name, fields in cases.items():
        yield Sent(name, "POST", "/token", fields, WEB)
    for name in ("a code", "a refresh token"):
        yield Sent(f"{name} twice", "POST", "/token", cases[name], WEB, twice=True)
        yield Sent(f"{name} of another client", "POST", "/token", cases[name], OTHER)
    yield Sent("a grant that is not its own", "POST", "/token", cases["client credentials"], OTHER)
    yield Sent("a device grant that is not its own", "POST", "/token", cases["an unknown device code"], OTHER)
    yield from _shapes("/token", cases["client credentials"])


def _grant_types() -> dict[str, Fields]:
    return {
        "nothing": [],
        "no grant_type": [("code", "x")],
        "empty grant_type": [("grant_type", "")],
        "password": [("grant_type", "password"), ("username", "a"), ("password", "b")],
        "implicit": [("grant_type", "implicit")],
        "an unknown grant": [("grant_type", "foo")],
        "grant_type twice": [("grant_type", "client_credentials"), ("grant_type", "client_credentials")],
        "unheard_of twice": [("grant_type", "client_credentials"), ("a", "1"), ("a", "1")],
    }


def _codes() -> dict[str, Fields]:
    code = [("grant_type", "authorization_code"), ("code", "{code}"), ("redirect_uri", REDIRECT)]
    right = [*code, ("code_verifier", VERIFIER)]
    return {
        "a code": right,
        "no code": [pair for pair in right if pair[0] != "code"],
        "an unknown code": [("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", REDIRECT)],
        "no verifier": code,
        "another verifier": [*code, ("code_verifier", "w" * 43)],
        "a short verifier": [*code, ("code_verifier", "v")],
        "a verifier of other letters": [*code, ("code_verifier", "v" * 42 + "+")],
        "another redirect_uri": [("redirect_uri", BYE) if pair[0] == "redirect_uri" else pair for pair in right],
        "no redirect_uri": [pair for pair in right if pair[0] != "redirect_uri"],
        "code twice": [*right, ("code", "{code}")],
        "a code for another resource": [*right, ("resource", "https://other.example")],
        "an access token as code": [("code", "{access}") if pair[0] == "code" else pair for pair in right],
    }


def _refreshes() -> dict[str, Fields]:
    right = [("grant_type", "refresh_token"), ("refresh_token", "{refresh}")]
    return {
        "a refresh token": right,
        "no refresh token": [("grant_type", "refresh_token")],
        "an unknown refresh token": [("grant_type", "refresh_token"), ("refresh_token", "x")],
        "an access token as refresh token": [("grant_type", "refresh_token"), ("refresh_token", "{access}")],
        "a refresh for less": [*right, ("scope", "openid")],
        "a refresh for more": [*right, ("scope", "openid groups")],
        "a refresh for nonsense": [*right, ("scope", '"')],
        "a refresh for another resource": [*right, ("resource", "https://other.example")],
    }


def _without_a_person() -> dict[str, Fields]:
    """Client credentials, and devices that nobody answers for."""
    right = [("grant_type", "client_credentials")]
    return {
        "client credentials": right,
        "client credentials for a service": [*right, ("resource", API)],
        "client credentials for another": [*right, ("resource", "https://x.example")],
        "client credentials for a fragment": [*right, ("resource", f"{API}#x")],
        "client credentials for two": [*right, ("resource", API), ("resource", API)],
        "client credentials of a person": [*right, ("scope", "openid")],
        "client credentials for what nobody knows": [*right, ("scope", "foo")],
        "an unknown device code": [("grant_type", DEVICE), ("device_code", "x")],
        "no device code": [("grant_type", DEVICE)],
    }


def _proofs(path: str, fields: Fields) -> Iterator[Sent]:
    """Ways in which a client may prove who it is, and may not."""
    basic = {
        "wrong secret": ("web", "wrong"),
        "no secret": ("web", ""),
        "unknown client": ("unknown", SECRET),
        "public client with a secret": ("spa", SECRET),
        "nobody": ("", ""),
        "a client of another method": ("poster", SECRET),
    }
    for name, auth in basic.items():
        yield Sent(f"Basic: {name}", "POST", path, fields, auth)
    raw = {"no base64": "Basic !", "no colon": "Basic YWJj", "another scheme": "Bearer x", "empty": "Basic"}
    for name, value in raw.items():
        yield Sent(f"Authorization: {name}", "POST", path, fields, headers={"authorization": value})
    posted: dict[str, Fields] = {
        "nothing": (),
        "only a name": (("client_id", "web"),),
        "unknown client": (("client_id", "unknown"),),
        "unknown client with a secret": (("client_id", "unknown"), ("client_secret", SECRET)),
        "a right secret": (("client_id", "poster"), ("client_secret", SECRET)),
        "a wrong secret": (("client_id", "poster"), ("client_secret", "wrong")),
        "a client of another method": (("client_id", "web"), ("client_secret", SECRET)),
        "a secret alone": (("client_secret", SECRET),),
        "no JWT": (("client_id", "web"), ("client_assertion", "x"), ("client_assertion_type", ASSERTION)),
        "an assertion of no type": (("client_id", "web"), ("client_assertion", "x.y.z")),
        "an assertion of another type": (("client_assertion", "x.y.z"), ("client_assertion_type", "foo")),
    }
    for name, more in posted.items():
        yield Sent(f"posted: {name}", "POST", path, [*fields, *more])
    yield Sent("Basic and posted", "POST", path, [*fields, ("client_id", "web"), ("client_secret", SECRET)], WEB)
    yield Sent("Basic and another client_id", "POST", path, [*fields, ("client_id", "other")], WEB)
    yield Sent("Basic and the same client_id", "POST", path, [*fields, ("client_id", "web")], WEB)


def _shapes(path: str, fields: Fields) -> Iterator[Sent]:
    """Ways in which a form may come, and may not."""
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        yield Sent("another method", method, path, fields, WEB)
    yield Sent("JSON", "POST", path, (), WEB, {"content-type": "application/json"}, b"{}")
    yield Sent("text", "POST", path, (), WEB, {"content-type": "text/plain"}, b"a=b")
    yield Sent("bytes", "POST", path, (), WEB, {"content-type": "application/x-www-form-urlencoded"}, b"a=%ff\xff")
    yield Sent("too much", "POST", path, [*fields, ("a", "x" * 70_000)], WEB)


def about_tokens() -> Iterator[Sent]:
    """At introspection, revocation and userinfo."""
    for path in ("/introspect", "/revoke"):
        yield from _proofs(path, [("token", "x")])
        yield from _shapes(path, [("token", "x")])
        for name, token in {"unknown": "x", "JWT": "a.b.c", "access": "{access}", "refresh": "{refresh}"}.items():
            yield Sent(f"{name} token", "POST", path, [("token", token)], WEB)
            yield Sent(f"{name} token, wrong hint", "POST", path, [("token", token), ("token_type_hint", "foo")], WEB)
            yield Sent(f"{name} token of another client", "POST", path, [("token", token)], OTHER)
        yield Sent("ID token", "POST", path, [("token", "{id}")], WEB)
        yield Sent("no token", "POST", path, (), WEB)
        yield Sent("token twice", "POST", path, [("token", "x"), ("token", "x")], WEB)
    headers = {
        "nothing": "",
        "nonsense": "Bearer x",
        "another scheme": "Basic {access}",
        "right": "Bearer {access}",
        "lower case": "bearer {access}",
        "a scheme alone": "Bearer",
        "by proof": "DPoP {access}",
        "ID token": "Bearer {id}",
        "refresh token": "Bearer {refresh}",
    }
    for name, value in headers.items():
        yield Sent(name, "GET", "/userinfo", headers={"authorization": value} if value else {})
        yield Sent(name, "POST", "/userinfo", headers={"authorization": value} if value else {})
    yield Sent("in the body", "POST", "/userinfo", [("access_token", "{access}")])
    yield Sent("in the query", "GET", "/userinfo", [("access_token", "{access}")])
    both = {"authorization": "Bearer {access}"}
    yield Sent("header and body", "POST", "/userinfo", [("access_token", "{access}")], headers=both)
    yield Sent("another method", "PUT", "/userinfo", headers=both)


def beginnings() -> Iterator[Sent]:
    """At pushed requests, device authorization, registration and logout."""
    yield from _proofs("/par", _authorization(client_id=None))
    yield from _shapes("/par", _authorization())
    chosen = ("response_type", "response_mode", "prompt", "code_challenge_method", "redirect_uri", "claims", "resource")
    for name in (*chosen, "request_uri", "request", "max_age", "dpop_jkt"):
        for value in _VALUES[name]:
            yield Sent(f"{name}={value}", "POST", "/par", _authorization(**{name: value}), WEB)
    yield Sent("everything right", "POST", "/par", _authorization(), WEB)
    yield Sent("a public client", "POST", "/par", _authorization(client_id="spa"))
    device = [("scope", "openid")]
    yield from _proofs("/device_authorization", device)
    yield from _shapes("/device_authorization", device)
    yield Sent("everything right", "POST", "/device_authorization", device, WEB)
    yield Sent("nothing", "POST", "/device_authorization", (), WEB)
    yield Sent("a client without devices", "POST", "/device_authorization", device, OTHER)
    yield Sent("nonsense", "POST", "/device_authorization", [("scope", 'openid "')], WEB)
    yield Sent("another service", "POST", "/device_authorization", [*device, ("resource", "https://x.example")], WEB)
    for name, document in _documents().items():
        headers = {"content-type": "application/json"}
        yield Sent(name, "POST", "/register", headers=headers, body=document)
    yield Sent("a form", "POST", "/register", [("redirect_uris", REDIRECT)])
    yield Sent("another method", "GET", "/register")
    for method in ("GET", "PUT", "DELETE"):
        yield Sent("no token", method, "/register/unknown")
        yield Sent("a wrong token", method, "/register/unknown", headers={"authorization": "Bearer x"})
    yield from _logouts()


def _documents() -> Mapping[str, object]:
    right: dict[str, object] = {"redirect_uris": [REDIRECT]}
    changes: dict[str, dict[str, object]] = {
        "everything right": {},
        "no redirect": {"redirect_uris": []},
        "plain http": {"redirect_uris": ["http://app.example/cb"]},
        "a fragment": {"redirect_uris": [f"{REDIRECT}#x"]},
        "javascript": {"redirect_uris": ["javascript:alert(1)"]},
        "this machine": {"redirect_uris": ["http://127.0.0.1/cb"], "application_type": "native"},
        "a private scheme": {"redirect_uris": ["com.example.app:/cb"], "application_type": "native"},
        "no list": {"redirect_uris": REDIRECT},
        "implicit": {"grant_types": ["implicit"], "response_types": ["id_token"]},
        "password": {"grant_types": ["password"]},
        "another response type": {"response_types": ["foo"]},
        "another method": {"token_endpoint_auth_method": "foo"},
        "a public client": {"token_endpoint_auth_method": "none"},
        "no keys": {"token_endpoint_auth_method": "private_key_jwt"},
        "both kinds of keys": {"jwks": {"keys": []}, "jwks_uri": "https://app.example/jwks"},
        "a number for a name": {"client_name": 5},
        "unsigned": {"id_token_signed_response_alg": "none"},
        "a script for a logo": {"logo_uri": "javascript:alert(1)"},
        "refresh": {"grant_types": list(CODE)},
        "unheard of": {"unheard_of": 1},
    }
    found: dict[str, object] = {name: right | change for name, change in changes.items()}
    return found | {"no object": [], "no JSON": b"{", "nothing": b""}


def _logouts() -> Iterator[Sent]:
    cases: dict[str, Fields] = {
        "nothing": (),
        "a hint that is none": (("id_token_hint", "x.y.z"),),
        "a client": (("client_id", "web"),),
        "an unknown client": (("client_id", "unknown"),),
        "a registered return": (("client_id", "web"), ("post_logout_redirect_uri", BYE), ("state", "s")),
        "another return": (("client_id", "web"), ("post_logout_redirect_uri", "https://evil.example")),
        "a return of nobody": (("post_logout_redirect_uri", BYE),),
        "a hint": (("id_token_hint", "{id}"),),
        "a hint and a return": (("id_token_hint", "{id}"), ("post_logout_redirect_uri", BYE)),
        "a hint and another return": (("id_token_hint", "{id}"), ("post_logout_redirect_uri", REDIRECT)),
        "a hint and another client": (("id_token_hint", "{id}"), ("client_id", "other")),
        "an access token for a hint": (("id_token_hint", "{access}"),),
        "a client twice": (("client_id", "web"), ("client_id", "web")),
    }
    for name, fields in cases.items():
        yield Sent(name, "GET", "/logout", fields)
        yield Sent(name, "POST", "/logout", fields)


def everything() -> list[Sent]:
    """All of them."""
    found = [*authorizations(), *tokens(), *about_tokens(), *beginnings()]
    for path in ("/.well-known/openid-configuration", "/.well-known/jwks.json"):
        found += [Sent("metadata", method, path) for method in ("GET", "HEAD", "POST")]
    keys = [sent.key for sent in found]
    assert len(set(keys)) == len(keys), [key for key in keys if keys.count(key) > 1]
    return found
