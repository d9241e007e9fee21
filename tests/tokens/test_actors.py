"""Delegation (RFC 8693): who may act for a subject, what is said of it, and everything that is refused."""

# ruff: noqa: ANN401 - keys, claims and cases are of many types
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from fakes.exchange import (
    FOREIGN,
    JWT_TYPE,
    NOW,
    OURS,
    SETTINGS,
    SPEC,
    Bench,
    Keys,
    call,
    claims,
    ec_key,
    foreign_set,
    form,
    jwk,
    record,
    rsa_key,
    token,
)
from tailseal.domain.bundle.model import Bound, PolicyRecord, TailscaleUpstream, Upstream
from tailseal.domain.policy.actors import MAX_ACTORS, ActError, chain, may_act
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.tokens.exchange import Answered, NeedKeys, NeedUpstream
from tailseal.tokens.keyset import parse_jwks

ROBOTS = "https://robots.example"
PUBLISHED = jwk(ec_key("ours"), "k1", "ES256")
THEIR_KEYS = parse_jwks({"keys": [jwk(rsa_key("robots"), "r1", "RS256")]})


def robot(header: dict[str, object] | None = None, key: Any = None, **changes: object) -> str:
    """A token of the party that acts."""
    content: dict[str, object] = {
        "iss": ROBOTS,
        "sub": "robot-7",
        "aud": OURS,
        "iat": int(NOW) - 5,
        "exp": int(NOW) + 300,
    }
    members = {name: value for name, value in (content | changes).items() if value is not None}
    return token(members, header or {"alg": "RS256", "kid": "r1", "typ": "JWT"}, key or rsa_key("robots"))


def acting(*actors: dict[str, Any], **members: Any) -> dict[str, Any]:
    return SPEC | {"actors": list(actors) or [{"oidc": {"issuer": ROBOTS, "subject": {"glob": "robot-*"}}}]} | members


class Stage(Bench):
    """An exchange with the keys of subjects and actors in hand."""

    def __init__(self, *records: PolicyRecord, **rest: Any) -> None:
        super().__init__(*(records or (record(acting()),)), **rest)
        self.keys.sets |= dict.fromkeys(self.index.actors(ROBOTS), THEIR_KEYS)

    def with_actor(self, actor: str | None = None, subject: str | None = None, **fields: object) -> Any:
        body = {"actor_token": actor or robot(), "actor_token_type": JWT_TYPE} | fields
        return self.step(call(form(subject, **body)))


def minted(outcome: Any) -> dict[str, Any]:
    assert outcome.result == "granted", outcome.reason
    issued = json.loads(outcome.response.body)["access_token"]
    return joserfc_jwt.decode(issued, import_key(PUBLISHED), algorithms=["ES256"]).claims


def test_the_issued_token_says_who_acts_for_whom() -> None:
    outcome = Stage().with_actor()
    assert minted(outcome)["act"] == {"iss": ROBOTS, "sub": "robot-7"}
    line = outcome.audit
    assert (line["actorIssuer"], line["actorSubject"], line["subject"]) == (ROBOTS, "robot-7", "repo:acme/app")
    assert len(line["actorTokenHash"]) == 64
    for part in robot().split("."):
        assert part not in str(line)


def test_who_comes_alone_acts_for_nobody() -> None:
    assert "act" not in minted(Stage().step())


def test_an_actor_where_the_policy_allows_none_is_refused_without_a_fetch() -> None:
    target = Stage(record())
    outcome = target.with_actor()
    assert (outcome.response.status, outcome.reason) == (400, "UnknownActorIssuer")
    assert target.keys.asked == []
    both = Stage(record(), record(acting(), name="other"))
    assert both.with_actor(policy="identity/ci").reason == "ActorNotAllowed"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://attacker.example"}, "UnknownActorIssuer"),
        ({"iss": FOREIGN}, "UnknownActorIssuer"),
        ({"iss": None}, "ActorClaimMissing"),
        ({"sub": "human-7"}, "ActorNotTrusted"),
        ({"sub": None}, "ActorClaimMissing"),
        ({"aud": "https://elsewhere.example"}, "ActorNotTrusted"),
        ({"aud": None}, "ActorClaimMissing"),
        ({"aud": [7]}, "ActorClaimMalformed"),
        ({"exp": int(NOW) - 60}, "ActorTokenExpired"),
        ({"exp": True}, "ActorClaimMalformed"),
        ({"iat": int(NOW) + 61}, "ActorTokenNotYetValid"),
        ({"act": "robot-1"}, "ActMalformed"),
    ],
)
def test_an_actor_token_is_held_to_what_subject_tokens_are(changes: dict[str, object], reason: str) -> None:
    outcome = Stage().with_actor(robot(**changes))
    assert (outcome.response.status, outcome.reason) == (400, reason)
    assert json.loads(outcome.response.body)["error"] == "invalid_request"
    if reason == "ActorNotTrusted":
        assert outcome.audit["actorSubject"] == changes.get("sub", "robot-7")
    elif reason != "ActMalformed":
        assert "actorSubject" not in outcome.audit


def test_an_actor_that_is_forged_is_no_actor() -> None:
    assert Stage().with_actor(robot(key=rsa_key("attacker"))).reason == "ActorBadSignature"
    assert Stage().with_actor(robot({"alg": "RS256", "kid": "x"})).reason == "ActorUnknownKey"
    assert Stage().with_actor("x.y.z").reason == "ActorTokenMalformed"
    foreign = token(claims(iss=ROBOTS))
    assert Stage().with_actor(foreign).reason == "ActorUnknownKey"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"actor_token_type": None}, "ParameterMissing"),
        ({"actor_token": ""}, "ParameterMissing"),
        ({"actor_token_type": "urn:x"}, "UnsupportedTokenType"),
        ({"actor_token": [robot(), robot()]}, "MalformedForm"),
        ({"actor_token_type": "urn:ietf:params:oauth:token-type:id_token"}, ""),
    ],
)
def test_actor_token_and_its_type_go_together(fields: dict[str, object], reason: str) -> None:
    outcome = Stage().with_actor(**fields)
    assert outcome.reason == reason


def test_two_empty_parameters_are_no_actor() -> None:
    assert Stage().step(call(form(actor_token="", actor_token_type=""))).result == "granted"


def test_keys_of_an_actor_are_asked_for_once_the_subject_is_verified_and_only_if_they_matter() -> None:
    target = Stage()
    (source,) = target.index.actors(ROBOTS)
    del target.keys.sets[source]
    assert target.with_actor() == NeedKeys((source,), "r1")
    for subject, actor in (
        (token(key=rsa_key("attacker")), robot()),
        (token(claims(sub="repo:evil/app")), robot()),
        (token(), robot(sub="human-7")),
        (token(claims(may_act={"sub": "somebody"})), robot()),
    ):
        assert isinstance(target.with_actor(actor, subject), Answered), "nothing may be fetched for it"


@pytest.mark.parametrize("condition", ["claims.level == 1", "claims.level == 2", "claims.none == 1"])
def test_no_condition_is_asked_about_an_actor_that_nobody_has_verified(condition: str) -> None:
    actors = [{"oidc": {"issuer": ROBOTS, "condition": condition}}]
    bench = Bench(record(acting(*actors)))
    (source,) = bench.index.actors(ROBOTS)
    forged = call(form(token(), actor_token=robot(key=rsa_key("mallory"), level=1), actor_token_type=JWT_TYPE))
    assert bench.step(forged) == NeedKeys((source,), "r1")
    bench.keys.sets[source] = THEIR_KEYS
    assert bench.step(forged).reason == "ActorBadSignature"
    true = bench.step(call(form(token(), actor_token=robot(level=1), actor_token_type=JWT_TYPE)))
    assert (true.result == "granted") == (condition == "claims.level == 1")


def test_an_actor_whose_keys_cannot_be_had_is_nobodys_fault() -> None:
    target = Stage()
    (source,) = target.index.actors(ROBOTS)
    del target.keys.sets[source]
    body = {"actor_token": robot(), "actor_token_type": JWT_TYPE}
    away = {source: "KeysUnreachable"}
    outcome = target.step(call(form(**body)), unavailable=away)
    assert (outcome.response.status, outcome.reason) == (503, "KeysUnreachable")
    refused = target.step(call(form(token(claims(sub="x")), **body)), unavailable=away)
    assert (refused.response.status, refused.reason) == (400, "NoPolicyMatches")
    alone = target.step(call(form()), unavailable=away)
    assert alone.result == "granted"


def test_a_tenants_own_keys_never_make_an_actor_for_another() -> None:
    forged = {"keys": [jwk(rsa_key("attacker"), "r1", "RS256")]}
    theirs = acting({"oidc": {"issuer": ROBOTS, "keys": {"jwks": forged}}})
    target = Stage(record(acting()), record(theirs, name="evil"))
    sources = {source.kind: source for source in target.index.actors(ROBOTS)}
    target.keys.sets |= {sources["discovery"]: THEIR_KEYS, sources["jwks"]: parse_jwks(forged)}
    attacker = robot(key=rsa_key("attacker"))
    assert target.with_actor(attacker, policy="identity/ci").reason == "ActorNotTrusted"
    assert target.with_actor(attacker, policy="identity/evil").result == "granted"
    assert target.with_actor(robot(), policy="identity/evil").reason == "ActorNotTrusted"
    assert target.with_actor(robot(), policy="identity/ci").result == "granted"


def test_one_of_several_actors_is_enough_each_with_its_own_rules() -> None:
    target = Stage(
        record(
            acting(
                {"oidc": {"issuer": ROBOTS, "subject": {"exact": "robot-1"}}},
                {"oidc": {"issuer": ROBOTS, "claims": [{"claim": "team", "exact": "a"}], "maxAge": "1m"}},
            )
        )
    )
    assert target.with_actor(robot(sub="robot-1")).result == "granted"
    assert target.with_actor(robot(team="a")).result == "granted"
    assert target.with_actor(robot(team="a", iat=int(NOW) - 121)).reason == "ActorNotTrusted"
    assert target.with_actor(robot(team="b")).reason == "ActorNotTrusted"


def test_only_the_policy_that_lets_him_act_grants_to_an_actor() -> None:
    target = Stage(record(name="alone"), record(acting(), name="together"))
    assert target.with_actor().audit["policy"] == "identity/together"
    assert target.step().audit["policy"] == "identity/alone"


def test_our_own_tokens_act_while_they_live() -> None:
    spec = acting({"session": {"clients": ["policy:identity/*"]}})
    target = Stage(record(spec), published={"keys": [PUBLISHED]})
    ours = {"iss": OURS, "sub": "policy:identity/x", "client_id": "policy:identity/x", "exp": int(NOW) + 40}
    header = {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
    session = token(claims(**ours), header, ec_key("ours"), "ES256")
    found = minted(target.with_actor(session))
    assert found["act"] == {"iss": OURS, "sub": "policy:identity/x", "client_id": "policy:identity/x"}
    assert found["exp"] == int(NOW) + 40
    expired = token(claims(**ours | {"exp": int(NOW)}), header, ec_key("ours"), "ES256")
    assert target.with_actor(expired).reason == "ActorTokenExpired"
    id_token = token(claims(**ours | {"client_id": None}), header, ec_key("ours"), "ES256")
    assert target.with_actor(id_token).reason == "ActorWrongTokenType"


def test_an_upstreams_token_is_given_to_an_actor_as_well_and_the_audit_line_names_him() -> None:
    tailscale = {"grants": [{"name": "tail", "tailscale": {"upstream": "prod", "scopes": ["devices:read"]}}]}
    upstream = Upstream(name="prod", tailscale=TailscaleUpstream(api_url="https://ts.example", credential="c"))
    settings = SETTINGS.model_copy(update={"upstreams": (upstream,)})
    need = Stage(record(acting(**tailscale)), settings=settings).with_actor()
    assert isinstance(need, NeedUpstream)
    assert need.audit["actorSubject"] == "robot-7"


CASES: list[tuple[object, bool]] = [
    ({"sub": "robot-7", "iss": ROBOTS}, True),
    ({"sub": "robot-7", "iss": FOREIGN}, False),
    ({"sub": "robot-7"}, False),
    ({"sub": "robot-8", "iss": ROBOTS}, False),
    ({"iss": ROBOTS}, False),
    ({"iss": ROBOTS, "sub": "robot-7", "team": "a"}, False),
    ({"iss": ROBOTS, "sub": "robot-7", "exp": 1, "aud": "x"}, True),
    ({"iss": ROBOTS, "sub": ["robot-7"]}, False),
    ({}, False),
    ([], False),
    ("robot-7", False),
    (None, False),
]


@pytest.mark.parametrize(("named", "allowed"), CASES)
def test_a_subject_tokens_may_act_names_the_only_actor(named: object, *, allowed: bool) -> None:
    payload = claims() | {"may_act": named}
    outcome = Stage().with_actor(subject=token(payload))
    assert outcome.reason == ("" if allowed else "ActorNotNamed")


def test_may_act_without_an_issuer_means_the_subjects_own() -> None:
    assert may_act({"iss": "a", "may_act": {"sub": "x"}}, {"iss": "a", "sub": "x"})
    assert not may_act({"iss": "a", "may_act": {"sub": "x"}}, {"iss": "b", "sub": "x"})
    assert not may_act({"iss": "a", "may_act": {"sub": 1}}, {"iss": "a", "sub": True})


def test_who_acted_before_stays_within_act() -> None:
    before = {"sub": "robot-1", "iss": ROBOTS, "note": "x", "act": {"sub": "robot-0"}}
    found = minted(Stage().with_actor(subject=token(claims(act=before))))
    prior = {"iss": ROBOTS, "sub": "robot-1", "act": {"sub": "robot-0"}}
    assert found["act"] == {"iss": ROBOTS, "sub": "robot-7", "act": prior}
    alone = minted(Stage().step(call(form(token(claims(act=before))))))
    assert alone["act"] == prior, "a delegation never turns into none"


def test_an_actor_who_is_acted_for_names_his_own_actor_too() -> None:
    found = minted(Stage().with_actor(robot(act={"sub": "boss"}), token(claims(act={"sub": "robot-0"}))))
    assert found["act"] == {"iss": ROBOTS, "sub": "robot-7", "act": {"sub": "boss", "act": {"sub": "robot-0"}}}


@pytest.mark.parametrize(
    "act",
    ["robot", 7, None, [], {}, {"iss": ROBOTS}, {"sub": 7}, {"sub": ""}, {"sub": "x" * 513}, {"sub": "x", "act": "y"}],
)
def test_an_act_that_names_nobody_is_refused(act: object) -> None:
    payload = claims() | {"act": act}
    assert Stage().step(call(form(token(payload)))).reason == "ActMalformed"


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"sub": "robot-0"}
    for number in range(1, depth):
        found = {"sub": f"robot-{number}", "act": found}
    return found


def test_a_chain_has_an_end() -> None:
    assert Stage().with_actor(subject=token(claims(act=nested(MAX_ACTORS - 1)))).result == "granted"
    assert Stage().with_actor(subject=token(claims(act=nested(MAX_ACTORS)))).reason == "ActMalformed"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["act", "sub", "iss", "x"]), inner, max_size=3)
    ),
)


@given(_json, _json)
def test_no_claim_makes_a_chain_fail_otherwise_or_grow(subject: Any, actor: Any) -> None:
    try:
        found = chain({"act": subject}, {"sub": "a", "act": actor})
    except ActError:
        return
    count = 0
    while found is not None:
        count += 1
        assert set(found) <= {"iss", "sub", "client_id", "act"}
        found = found.get("act")
    assert count <= MAX_ACTORS
    may_act({"may_act": subject}, {"sub": "a"})


def bounded(*, state: str | None = None, **changes: Any) -> Any:
    rule = {
        "name": "tenants",
        "namespaces": ("team-a",),
        "issuers": (FOREIGN, ROBOTS),
        "key_sources": ("Discovery",),
        "audiences": ("*",),
        "max_ttl": 3600,
    }
    return SETTINGS.model_copy(update={"bounds": (Bound(**rule | changes),), "state": state})


@pytest.mark.parametrize(
    ("actor", "changes", "path"),
    [
        ({"oidc": {"issuer": ROBOTS}}, {}, ""),
        ({"oidc": {"issuer": ROBOTS}}, {"issuers": (FOREIGN,)}, "spec.actors[0].oidc.issuer"),
        ({"oidc": {"issuer": ROBOTS, "audiences": ["x"]}}, {}, "spec.actors[0].oidc.audiences"),
        (
            {"oidc": {"issuer": ROBOTS, "keys": {"jwksURI": "https://keys.example/x"}}},
            {},
            "spec.actors[0].oidc.keys",
        ),
        ({"github": {"owner": "acme"}}, {"issuers": ("*",)}, "spec.actors[0].github"),
        ({"oidc": {"issuer": OURS}}, {"issuers": ("*",)}, "spec.actors[0].oidc.issuer"),
        ({"session": {}}, {"issuers": ("*",)}, "spec.actors[0].session.keys"),
        ({"oidc": {"issuer": ROBOTS, "condition": "claims.run == 1"}}, {}, ""),
        ({"oidc": {"issuer": ROBOTS, "condition": "claims.run"}}, {}, "spec.actors[0].oidc.condition"),
        ({"oidc": {"issuer": ROBOTS, "replay": {"oneTime": True}}}, {}, "spec.actors[0].oidc.replay.oneTime"),
        ({"oidc": {"issuer": ROBOTS, "replay": {"oneTime": True}}}, {"state": "Postgres"}, ""),
        ({"tailnet": {"users": ["ana"]}}, {}, "spec.actors[0].tailnet"),
    ],
)
def test_actors_are_held_to_the_same_bounds_as_subjects(
    actor: dict[str, Any], changes: dict[str, Any], path: str
) -> None:
    outcome = accepted(record(acting(actor), namespace="team-a"), bounded(**changes))
    found = [] if isinstance(outcome, CompiledPolicy) else [finding.path for finding in outcome]
    assert all(entry.startswith(path) for entry in found)
    assert bool(found) == bool(path)


def test_keys_in_hand_verify_as_they_do_for_subjects() -> None:
    keys = Keys(dict.fromkeys(Stage().index.actors(ROBOTS), foreign_set()))
    target = Stage()
    target.keys.sets |= keys.sets
    assert target.with_actor(robot({"alg": "RS256", "kid": "f1"})).reason == "ActorBadSignature"
