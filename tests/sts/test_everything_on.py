"""One exchange of each provider's token shape with everything on at once, and no secret of it in anything written."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jws
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, KeySet

from fakes import bundles, internet, jobs, oauthclients, worker
from fakes.exchange import JWT_TYPE, OURS, SETTINGS, SPEC, TARGET, ed_key, record, rsa_key, token
from fakes.jobs import CIRCLE_ORG, CLUSTER, Claims
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import Settings
from tailseal.tokens.request import GRANT_TYPE
from tailseal_dev.postgres import PASSWORD, PostgresServer

ROBOTS = "https://robots.example"
SHARED = SETTINGS.model_copy(update={"state": "Postgres"})
DEMANDS = {"condition": "has(claims.jti) && claims.sub != ''", "maxAge": "10m", "replay": {"oneTime": True}}
BLOCKS: dict[str, dict[str, Any]] = {
    "github": {"ownerID": "65", "repository": "app", "branches": ["main"], "refProtected": True},
    "gitlab": {"projectID": "20", "refs": ["main"], "refProtected": True},
    "buildkite": {"organizationID": jobs.buildkite()["organization_id"], "steps": ["deploy"]},
    "circleci": {"organizationID": CIRCLE_ORG, "refs": ["refs/heads/main"], "origins": ["github.com/acme/*"]},
    "terraform": {"organizationID": "org-GRNbCjYNpBB6NEBH", "runPhases": ["apply"]},
    "kubernetes": {"issuer": CLUSTER, "namespaces": ["shop"], "serviceAccounts": ["deployer"], "boundTo": "Pod"},
}
SHAPES: dict[str, Claims] = {
    "github": jobs.github(),
    "gitlab": jobs.gitlab(),
    "buildkite": jobs.buildkite(),
    "circleci": jobs.circleci(),
    "terraform": jobs.terraform(),
    "kubernetes": jobs.kubernetes(),
}
ASKED = {
    "audiences": [TARGET],
    "scopes": ["read"],
    "ttl": "5m",
    "requireDPoP": True,
    "subject": "claims.jti",
    "claims": [
        {"name": "who", "string": "claims.sub"},
        {"name": "teams", "strings": "['a', 'b']"},
        {"name": "size", "integer": "size(claims.sub)"},
        {"name": "sure", "boolean": "claims.sub != 'x'"},
    ],
}
ACTORS = [{"oidc": {"issuer": ROBOTS, "subject": {"exact": "robot-7"}, **DEMANDS}}]
CLIENT_KEY, PROVEN = ed_key("everything"), ECKey.generate_key("P-256")
EXCHANGING = {"grantTypes": [GRANT_TYPE], "redirectURIs": None}
ASSERTED = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def volume(settings: Settings) -> dict[str, bytes]:
    """Policies of all providers, each with everything on, and a client of each way to prove itself."""
    grants = [{"name": "it", "jwt": ASKED}]
    records = [
        record(SPEC | {"from": {member: block | DEMANDS}, "actors": ACTORS, "grants": grants}, name=member)
        for member, block in BLOCKS.items()
    ]
    secret = oauthclients.record("by-secret", **EXCHANGING)
    keyed = {"authMethod": "private_key_jwt", "jwks": oauthclients.jwks(CLIENT_KEY)}
    clients, _ = build.clients([oauthclients.record("by-key", **EXCHANGING, **keyed), secret])
    return build.policies_volume(settings, build.shards(records).files, clients)


@dataclass
class World:
    """A running token service, and everything that it must not write down."""

    url: str
    management: str
    log: Path
    secrets: set[str] = field(default_factory=set)

    def written(self) -> str:
        seen = [httpx.get(self.management + path, trust_env=False).text for path in ("/metrics", "/readyz")]
        return "\n".join([worker.content(self.log), *seen])

    def known(self, text: str) -> str:
        """The text, none of whose parts may be written down."""
        self.secrets |= {part for part in text.split(".") if len(part) > 40}
        return text


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("everything")
    far = internet.Internet(sorted({ROBOTS, *(str(claims["iss"]) for claims in SHAPES.values())}))
    opened = {"open_hosts": ("127.0.0.0/8",), "extra_ca": far.authority.certificate.decode()}
    lease = [{"kid": "k1", "alg": "ES256", "file": "k1.pem", "signUntil": time.time() + 86_400}]
    mounted = bundles.Mounted(folder / "bundle")
    mounted.project("signing", bundles.signing(held=lease))
    mounted.project("policies", volume(SHARED.model_copy(update=opened)))
    mounted.project("credentials", {"state.url": postgres.url.encode()})
    with far.served(folder) as port, internet.both(folder / "bundle", folder / "log", port) as (url, management):
        yield World(url, management, folder / "log", {oauthclients.SECRET, PASSWORD})


def fresh(claims: Claims) -> dict[str, Any]:
    """The claims, now, for us, of a token that nobody has seen; CircleCI's keeps the audience that it has."""
    now = int(time.time())
    audience = {"aud": OURS} if claims.get("aud") in (None, jobs.STS, [jobs.STS]) else {}
    return claims | {"iat": now - 10, "nbf": now - 10, "exp": now + 300, "jti": os.urandom(8).hex()} | audience


def signed(claims: Claims) -> str:
    return token(fresh(claims), key=rsa_key(str(claims["iss"])))


def robot() -> str:
    return signed({"iss": ROBOTS, "sub": "robot-7"})


def proof(nonce: str) -> str:
    public = {name: value for name, value in PROVEN.as_dict(private=False).items() if name in {"kty", "crv", "x", "y"}}
    said = {"jti": os.urandom(8).hex(), "htm": "POST", "htu": SETTINGS.token_endpoint, "iat": int(time.time())}
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": public}
    return jws.serialize_compact(header, json.dumps(said | {"nonce": nonce}).encode(), PROVEN, algorithms=["ES256"])


def by_key() -> dict[str, str]:
    said = {"iss": "by-key", "sub": "by-key", "aud": SETTINGS.token_endpoint, "jti": os.urandom(8).hex()}
    assertion = oauthclients.jwt(CLIENT_KEY, {"kid": "k1", "typ": "JWT"}, said | {"exp": int(time.time()) + 60})
    return {"client_assertion_type": ASSERTED, "client_assertion": assertion}


def ask(world: World, subject: str, actor: str, client: str) -> httpx.Response:
    """One exchange with everything; the first proof is for the nonce."""
    fields, headers = worker.form(subject_token=world.known(subject), actor_token=world.known(actor)), {}
    fields |= {"actor_token_type": JWT_TYPE, "subject_token_type": JWT_TYPE}
    basic = base64.b64encode(f"by-secret:{oauthclients.SECRET}".encode()).decode()
    world.secrets.add(basic)
    answer, nonce = None, "none-of-ours"
    for _ in range(2):
        proven = by_key() if client == "by-key" else {}
        headers = {"dpop": proof(nonce)} | ({} if proven else {"authorization": f"Basic {basic}"})
        for secret in (headers["dpop"], proven.get("client_assertion", "")):
            world.known(secret)
        answer = httpx.post(f"{world.url}/token", data=fields | proven, headers=headers, trust_env=False, timeout=60)
        nonce = answer.headers.get("dpop-nonce", "")
    assert answer is not None
    return answer


@pytest.mark.parametrize("client", ["by-key", "by-secret"])
@pytest.mark.parametrize(("member", "claims"), SHAPES.items(), ids=list(SHAPES))
def test_each_shape_is_exchanged_with_everything_on(world: World, member: str, claims: Claims, client: str) -> None:
    subject = signed(claims)
    answer = ask(world, subject, robot(), client)
    assert (answer.status_code, answer.json().get("tailseal_reason")) == (200, None)
    jwks = httpx.get(f"{world.url}/.well-known/jwks.json", trust_env=False).json()
    issued = joserfc_jwt.decode(
        world.known(answer.json()["access_token"]), KeySet.import_key_set(jwks), algorithms=["ES256"]
    ).claims
    sub = str(claims["sub"])
    assert issued["sub"].startswith(f"policy:identity/{member}:")
    assert (issued["client_id"], issued["policy"]) == (client, f"identity/{member}")
    assert (issued["act"], issued["cnf"]) == ({"iss": ROBOTS, "sub": "robot-7"}, {"jkt": PROVEN.thumbprint()})
    assert (issued["who"], issued["teams"], issued["size"], issued["sure"]) == (sub, ["a", "b"], len(sub), True)
    assert (issued["aud"], issued["scope"], answer.json()["token_type"]) == (TARGET, "read", "DPoP")
    again = ask(world, subject, robot(), client)
    assert (again.status_code, again.json()["tailseal_reason"]) == (400, "TokenReplayed")


@pytest.mark.parametrize("client", ["by-key", "by-secret"])
def test_what_is_wrong_is_refused_and_nothing_of_it_is_written_down(world: World, client: str) -> None:
    actor = robot()
    assert ask(world, signed(SHAPES["github"]), actor, client).status_code == 200
    again = ask(world, signed(SHAPES["github"]), actor, client)
    stranger = ask(world, signed(SHAPES["github"]), signed({"iss": ROBOTS, "sub": "robot-8"}), client)
    forged = ask(world, signed(SHAPES["github"]), robot()[:-4] + "AAAA", client)
    found = [answer.json()["tailseal_reason"] for answer in (again, stranger, forged)]
    assert found == ["ActorTokenReplayed", "ActorNotTrusted", "ActorBadSignature"]
    written = world.written()
    assert f'"client":"{client}"' in written
    assert "ActorTokenReplayed" in written
    assert [secret for secret in world.secrets if secret in written] == []
