"""Everything that reads bytes of strangers or documents of tenants, each as a function of bytes that may not fail.

Signatures stop a fuzzer dead, so what stands behind one is also reached with bytes that a key of ours has signed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ed25519

from tailseal.domain.bundle.model import Bound, PolicyRecord, Settings, TailscaleUpstream, Upstream
from tailseal.domain.policy.compile import accepted, compile_policy
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import GrantRequest, decide
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.domain.policy.trust import Verified
from tailseal.tokens import compact, dpop, form, tailsts, verify
from tailseal.tokens.algorithms import ALGORITHMS
from tailseal.tokens.compact import encode
from tailseal.tokens.dpop import Expected, Nonces, ProofError
from tailseal.tokens.errors import KeySetError, TokenError
from tailseal.tokens.exchange import Answered, Call, Exchange
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.tokens.request import GRANT_TYPE, RequestError, read
from tailseal.tokens.signers import LocalSigner
from tailseal_dev.fuzz import clients

NOW: Final = 1_800_000_000.0
FORM: Final = "application/x-www-form-urlencoded"
ISSUER: Final = "https://ci.example"
OURS: Final = "https://idp.example"
TARGET: Final = "https://api.example"

_KEY: Final = ed25519.Ed25519PrivateKey.from_private_bytes(b"f" * 32)
_NONCES: Final = Nonces(b"n" * 32, OURS)
_EVERYTHING: Final = Bound(
    name="everything",
    namespaces=("*",),
    upstreams=("*",),
    tailscale_scopes=("*",),
    tailscale_tags=("*",),
    issuers=("*",),
    key_sources=("*",),
    subject_audiences=("*",),
    audiences=("*",),
    jwt_claims=("groups",),
    jwt_subject_prefixes=("job:**",),
    max_ttl=3600,
    upstream_lifetime="Accept",
)
SETTINGS: Final = Settings(
    issuer=OURS,
    namespace="identity",
    name="corp",
    token_endpoint=f"{OURS}/token",
    subject_audiences=(OURS,),
    upstreams=(Upstream(name="prod", tailscale=TailscaleUpstream(api_url="https://ts.example", credential="prod")),),
    bounds=(_EVERYTHING,),
    state="Postgres",
)
_JWK: Final[dict[str, Any]] = {
    **dict(ALGORITHMS["EdDSA"].to_jwk(_KEY.public_key(), as_dict=True).items()),
    "kid": "f1",
    "alg": "EdDSA",
    "use": "sig",
}
_JWK.pop("key_ops", None)
_OIDC: Final = {
    "issuer": ISSUER,
    "keys": {"jwks": {"keys": [_JWK]}},
    "algorithms": ["EdDSA"],
    "subject": {"glob": "repo:acme/*:ref:**"},
    "claims": [
        {"claim": "id", "exact": "42"},
        {"claim": "number", "exactInteger": 7},
        {"claim": "flag", "exactBoolean": True},
        {"claim": "groups", "match": "Any", "regex": "team-[a-z]+"},
        {"path": ["kubernetes.io", "namespace"], "oneOf": ["a", "b"]},
    ],
    "maxAge": "10m",
}
_LOOSE: Final = {"issuer": ISSUER, "keys": _OIDC["keys"], "algorithms": ["EdDSA"]}


def _spec(oidc: Mapping[str, Any], *grants: Mapping[str, Any], **more: object) -> dict[str, Any]:
    provider = {"name": "corp", "namespace": "identity"}
    return {"identityProviderRef": provider, "from": {"oidc": oidc}, "grants": list(grants), **more}


_JWT: Final = {"audiences": [TARGET], "scopes": ["read"], "ttl": "5m"}
SPECS: Final = (
    _spec(_OIDC, {"name": "api", "jwt": _JWT}),
    _spec(
        _LOOSE | {"condition": "claims.sub.startsWith('repo:') && size(claims.groups) < 4"},
        {"name": "api", "jwt": _JWT | {"claims": [{"name": "team", "string": "claims.owner"}]}},
        {"name": "ts", "tailscale": {"upstream": "prod", "scopes": ["devices:core:read"], "tags": ["tag:ci"]}},
        actors=[{"oidc": _LOOSE}],
    ),
    _spec(
        _LOOSE,
        {"name": "key", "tailscaleAuthKey": {"upstream": "prod", "tags": ["tag:ci"], "expiry": "5m"}},
        {"name": "bound", "jwt": _JWT | {"audiences": ["x"], "requireDPoP": True, "subject": "claims.sub"}},
    ),
    {"from": {"github": {"ownerID": "65", "repository": "app", "branches": ["main"], "pullRequests": "Own"}}},
    {"from": {"kubernetes": {"issuer": ISSUER, "namespaces": ["a"], "boundTo": "Pod"}}, "enforcement": "Audit"},
)
"""Specs of policies; the first three compile, and decide below."""


def _records() -> list[PolicyRecord]:
    return [
        PolicyRecord(namespace="identity", name=f"p{number}", uid="u", generation=1, spec=spec)
        for number, spec in enumerate(SPECS[:3])
    ]


class _Hand:
    """All keys in hand."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def get(self, source: KeySource, kid: str | None) -> KeySet | None:  # noqa: ARG002 - the protocol's signature
        return self._keys


_INDEX: Final = PolicyIndex(compile_policy(record, SETTINGS) for record in _records())
_HAND: Final = _Hand(parse_jwks({"keys": [_JWK]}))
_SIGNER: Final = LocalSigner(_KEY, "EdDSA", "k1")
_EXCHANGE: Final = Exchange(SETTINGS, _INDEX, lambda _alg, _now: _SIGNER, 3600, {"keys": []}, _NONCES)
_EXPECTED: Final = Expected(f"{OURS}/token", NOW, 60, lambda nonce: _NONCES.accepts(nonce, NOW, 60))


def a_form(data: bytes) -> None:
    """The body of a request to `/token`, and everything that is decided of it."""
    try:
        form.parse(data, {"audience"})
        read(data, FORM, authorization=False)
    except (form.FormError, RequestError):
        pass
    _exchange(Call(data, "d1", FORM))


def a_token(data: bytes) -> None:
    """A subject token, whoever signed it."""
    try:
        token = compact.split(data)
        verify.check_type(token, verify.JWT)
        verify.issuer(token.payload)
        verify.check_claims(token.payload, now=NOW, skew=60)
        verify.check_signature(token, _HAND.get(KeySource(ISSUER, "jwks", ""), token.kid) or KeySet(()))
    except TokenError:
        pass
    text = data.decode("latin-1")
    if text.isascii():
        _exchange(Call(b"", "d1", dialect=lambda _: tailsts.read(b'{"scopes":["x"]}', f"Bearer {text}", "prod")))


def claims(data: bytes) -> None:
    """The payload of a token that is rightly signed; what is granted to it PyJWT reads the same."""
    token = _signed(_RIGHT, data)
    answered = _exchange(Call(_body(token) + _ASKED, "d1", FORM))
    if answered is not None and answered.result == "granted":
        read_by_pyjwt = jwt.decode(token, _KEY.public_key(), ["EdDSA"], options=_UNTIMED, audience=OURS, issuer=ISSUER)
        if read_by_pyjwt != compact.split(token).payload:
            raise AssertionError("PyJWT reads other claims")


def an_actor(data: bytes) -> None:
    """The payload of an actor token that is rightly signed, and of a subject token beside an actor."""
    for subject, actor in ((_GOOD, _signed(_RIGHT, data)), (_signed(_RIGHT, data), _ACTOR)):
        acting = b"&actor_token_type=" + verify.JWT.encode() + b"&actor_token=" + actor
        answered = _exchange(Call(_body(subject) + b"&policy=identity/p1" + _ASKED + acting, "d1", FORM))
        if answered is not None and answered.result == "granted":
            jwt.decode(actor, _KEY.public_key(), ["EdDSA"], options=_UNTIMED, audience=OURS, issuer=ISSUER)


def a_proof(data: bytes) -> None:
    """Header DPoP, as it comes and with bytes that its own key signed."""
    header = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": {name: _JWK[name] for name in ("kty", "crv", "x")}}
    for proof in (data.decode("latin-1"), _signed(header, data).decode()):
        with contextlib.suppress(ProofError):
            dpop.check(proof, _EXPECTED)
        _exchange(Call(_body(_GOOD), "d1", FORM, dpop=proof))


def a_key(data: bytes) -> None:
    """Header of a proof: the key that it brings along."""
    proof = encode(data) + b"." + encode(_PROOF) + b"." + encode(b"s" * 64)
    with contextlib.suppress(ProofError):
        dpop.check(proof.decode(), _EXPECTED)


def a_key_set(data: bytes) -> None:
    """An issuer's JWK Set, and a token looked up in it."""
    try:
        keys = parse_jwks(data)
        for kid in (None, "f1"):
            for alg in ("RS256", "ES256", "EdDSA"):
                _look_up(keys, kid, alg)
    except KeySetError:
        pass


def a_policy(data: bytes) -> None:
    """The spec of a TrustPolicy; what compiles is asked about tokens, too."""
    try:
        spec = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    if not isinstance(spec, dict):
        return
    record = PolicyRecord(namespace="team", name="p", uid="u", generation=1, spec=_SKELETON | spec)
    policy = accepted(record, SETTINGS)
    if isinstance(policy, CompiledPolicy):
        index = PolicyIndex([policy])
        for content in _CLAIMS:
            subject = Verified(policy.trust.source, "EdDSA", (OURS,), content)
            decide(index, subject, GrantRequest(), SETTINGS, NOW)
            decide(index, subject, GrantRequest(), SETTINGS, NOW, trace=[])


def a_tailsts_body(data: bytes) -> None:
    """The body and the header of a request in the dialect of TailSTS."""
    head, _, body = data.partition(b"\n")
    with contextlib.suppress(RequestError):
        tailsts.read(body, head.decode("latin-1"), "prod")
    token = f"Bearer {_GOOD.decode()}"
    answered = _exchange(Call(body, "d1", accept="text/plain", dialect=lambda text: tailsts.read(text, token, "prod")))
    if answered is not None:
        tailsts.said(answered)


def _look_up(keys: KeySet, kid: str | None, alg: str) -> None:
    with contextlib.suppress(TokenError):
        keys.find(kid, alg).verify(b"x", b"s" * 64)


def _exchange(call: Call) -> Answered | None:
    outcome = _EXCHANGE.step(call, _HAND, NOW)
    if not isinstance(outcome, Answered):
        return None
    orjson.dumps(outcome.audit)
    if outcome.response.status >= 500:  # noqa: PLR2004 - a stranger's input is never our fault
        raise AssertionError(f"answered {outcome.response.status}: {outcome.reason}")
    return outcome


def _body(token: bytes) -> bytes:
    return (
        b"grant_type="
        + GRANT_TYPE.encode()
        + b"&subject_token_type="
        + verify.JWT.encode()
        + b"&subject_token="
        + token
    )


def _signed(header: Mapping[str, Any], payload: bytes) -> bytes:
    signing_input = encode(orjson.dumps(header)) + b"." + encode(payload)
    return signing_input + b"." + encode(_KEY.sign(signing_input))


_GOOD_CLAIMS: Final[dict[str, Any]] = {
    "iss": ISSUER,
    "sub": "repo:acme/app:ref:refs/heads/main",
    "aud": OURS,
    "iat": int(NOW) - 10,
    "exp": int(NOW) + 300,
    "jti": "j1",
    "id": "42",
    "number": 7,
    "flag": True,
    "owner": "acme",
    "groups": ["team-a"],
    "kubernetes.io": {"namespace": "a"},
}
_CLAIMS: Final[tuple[dict[str, Any], ...]] = (
    _GOOD_CLAIMS,
    {},
    {"sub": 1, "iat": "x", "groups": {}, "kubernetes.io": []},
)
_RIGHT: Final = {"alg": "EdDSA", "kid": "f1"}
_GOOD: Final = _signed(_RIGHT, orjson.dumps(_GOOD_CLAIMS))
_ACTOR: Final = _signed(_RIGHT, orjson.dumps(_GOOD_CLAIMS | {"sub": "robot-7"}))
_PROOF: Final = orjson.dumps({"jti": "j", "htm": "POST", "htu": f"{OURS}/token", "iat": int(NOW)})
_ASKED: Final = b"&audience=https%3A%2F%2Fapi.example&scope=read"
_UNTIMED: Final[Any] = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
_SKELETON: Final = _spec(_LOOSE, {"name": "api", "jwt": _JWT})

Target = Callable[[bytes], None]

TARGETS: Final[dict[str, tuple[Target, tuple[bytes, ...]]]] = {
    "form": (a_form, (_body(_GOOD) + b"&audience=https%3A%2F%2Fapi.example&scope=read+write&policy=a/b&tags=tag:x",)),
    "token": (a_token, (_GOOD, b"eyJhbGciOiJub25lIn0.e30.")),
    "claims": (
        claims,
        (orjson.dumps(_GOOD_CLAIMS), b'{"iss":"https://ci.example","act":{"sub":"a"},"cnf":{"jkt":"x"}}'),
    ),
    "actor": (
        an_actor,
        (
            orjson.dumps(_GOOD_CLAIMS | {"sub": "robot-7", "cnf": {"jkt": "x"}}),
            orjson.dumps(_GOOD_CLAIMS | {"may_act": {"sub": "robot-7"}, "act": {"sub": "a", "act": {"sub": "b"}}}),
        ),
    ),
    "proof": (
        a_proof,
        (_PROOF, b'{"jti":"j","htm":"POST","htu":"HTTPS://idp.EXAMPLE:443/./%74oken","iat":1,"nonce":"n"}'),
    ),
    "proof-key": (
        a_key,
        (orjson.dumps({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": _JWK}),),
    ),
    "key-set": (
        a_key_set,
        (
            orjson.dumps({"keys": [_JWK]}),
            b'{"keys":[{"kty":"RSA","kid":"f1","n":"' + b"A" * 342 + b'","e":"AQAB","key_ops":["verify"]}]}',
            b'{"keys":[{"kty":"EC","crv":"P-256","x":"' + b"A" * 43 + b'","y":"' + b"A" * 43 + b'","x5c":[]}]}',
        ),
    ),
    "policy": (a_policy, tuple(orjson.dumps(spec) for spec in SPECS)),
    "tailsts": (a_tailsts_body, (b'Bearer x\n{"scopes":["devices:core:read"]}', b'Bearer x\n{"SCOPES":null}')),
    **clients.TARGETS,
}
"""By name: the function, and examples to begin with."""

WORDS: Final = (
    *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "act", "may_act", "cnf", "jkt", "alg", "kid", "typ", "jwk"),
    *("crit", "b64", "kty", "crv", "use", "key_ops", "keys", "exact", "exactInteger", "exactDecimal", "exactBoolean"),
    *("client_id", "client_secret", "client_assertion", "client_assertion_type", "Basic", "%3A"),
    *("oneOf", "glob", "regex", "present", "match", "claim", "path", "condition", "claims", "grants", "oidc", "github"),
    *("gitlab", "buildkite", "circleci", "terraform", "kubernetes", "session", "actors", "replay", "oneTime", "scopes"),
    *(
        "\\u0000",
        "\\ud800",
        "1e400",
        "-0",
        "NaN",
        "%00",
        "%ff",
        "99999999999999999999",
        "**",
        "(a*)*$",
        "has(claims.a)",
    ),
)
"""What a fuzzer would take long to guess."""
