"""Our own tokens as subject tokens: only for as long as they live, and only what we publish and gave to a client."""

# ruff: noqa: ANN401 - keys, claims and cases are of many types
from __future__ import annotations

from typing import Any

import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from fakes.exchange import (
    FOREIGN,
    JWT_TYPE,
    NOW,
    OURS,
    SETTINGS,
    SPEC,
    TARGET,
    Bench,
    Keys,
    call,
    claims,
    ec_key,
    form,
    jwk,
    record,
    rsa_key,
    token,
)
from tailseal.domain import capability
from tailseal.domain.bundle.model import Bound, PolicyRecord, Settings, TailscaleUpstream, Upstream
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.tokens import compact
from tailseal.tokens.exchange import Answered, NeedUpstream
from tailseal.tokens.standing import Standing, kept
from tailseal.tokens.verify import ACCESS_TOKEN, ID_TOKEN

GATEWAY = "https://gateway.corp.example"
BEHIND = "https://behind.corp.example"
PUBLISHED = {"keys": [jwk(ec_key("ours"), "k1", "ES256")]}
HEADER = {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}


def trusting(audiences: list[str] | None = None, **session: Any) -> dict[str, Any]:
    grant = {"name": "behind", "jwt": {"audiences": [BEHIND], "ttl": "10m"}}
    return SPEC | {"from": {"session": {"audiences": audiences or [GATEWAY]} | session}, "grants": [grant]}


def session(header: dict[str, object] = HEADER, key: Any = None, **changes: object) -> str:
    """A token of ours, as somebody got it for the gateway."""
    content: dict[str, object] = {
        "iss": OURS,
        "sub": "policy:identity/ci",
        "client_id": "policy:identity/ci",
        "aud": GATEWAY,
        "iat": int(NOW) - 10,
        "exp": int(NOW) + 200,
        "jti": "d0",
    }
    members = {name: value for name, value in (content | changes).items() if value is not None}
    return token(members, header, key or ec_key("ours"), str(header["alg"]))


def bench(*records: PolicyRecord, published: dict[str, Any] = PUBLISHED, **rest: Any) -> Bench:
    return Bench(*(records or (record(trusting()),)), published=published, **rest)


def refused(bench: Bench, subject: str, **fields: object) -> str:
    """The reason of a refusal for which nothing was fetched."""
    bench.keys = Keys()
    outcome = bench.step(call(form(subject, **fields)))
    assert isinstance(outcome, Answered)
    assert bench.keys.asked == []
    return outcome.reason


def test_a_token_that_we_minted_is_exchanged_by_the_service_that_it_is_for() -> None:
    mine = {"name": "api", "jwt": {"audiences": [GATEWAY], "ttl": "3m"}}
    both = bench(record(SPEC | {"grants": [mine]}), record(trusting(), name="gateway"))
    first = both.answer()[1]["access_token"]
    status, answer = both.answer(call(form(first, subject_token_type=ACCESS_TOKEN)))
    assert status == 200
    found = joserfc_jwt.decode(answer["access_token"], import_key(PUBLISHED["keys"][0]), algorithms=["ES256"])
    assert (found.claims["sub"], found.claims["aud"]) == ("policy:identity/gateway", BEHIND)
    assert found.claims["exp"] == int(NOW) + 180 == int(NOW) + answer["expires_in"]


@pytest.mark.parametrize(("left", "given"), [(1000, 600), (600, 600), (599, 599), (1, 1)])
def test_what_is_given_for_a_session_never_outlives_it(left: int, given: int) -> None:
    assert bench().answer(call(form(session(exp=int(NOW) + left))))[1]["expires_in"] == given


def test_the_clock_of_a_session_is_ours_so_no_skew_prolongs_it() -> None:
    assert refused(bench(), session(exp=int(NOW))) == "TokenExpired"
    assert refused(bench(), session(exp=int(NOW) - 59)) == "TokenExpired"


def test_an_expired_session_gets_nothing_from_an_upstream_either() -> None:
    upstream = Upstream(name="prod", tailscale=TailscaleUpstream(api_url="https://ts.example", credential="c"))
    settings = SETTINGS.model_copy(update={"upstreams": (upstream,)})
    grant = {"name": "tail", "tailscale": {"upstream": "prod", "scopes": ["devices:read"]}}
    target = bench(record(trusting() | {"grants": [grant]}), settings=settings)
    assert isinstance(target.step(call(form(session()))), NeedUpstream)
    assert refused(target, session(exp=int(NOW))) == "TokenExpired"


def test_a_chain_of_renewals_ends_with_the_first_token() -> None:
    ring = trusting([GATEWAY])
    ring["grants"][0]["jwt"]["audiences"] = [GATEWAY]
    target, held, now = bench(record(ring)), session(), NOW
    for _ in range(50):
        status, answer = target.answer(call(form(held)), now)
        if status != 200:
            break
        held, now = answer["access_token"], now + 30
    assert (status, answer["tailseal_reason"]) == (400, "TokenExpired")
    assert now <= NOW + 200 + 30


def test_a_key_that_we_no_longer_publish_verifies_nothing() -> None:
    other = {"keys": [jwk(ec_key("next"), "k2", "ES256")]}
    assert refused(bench(published=other), session()) == "UnknownKey"
    assert refused(bench(published={"keys": []}), session()) == "UnknownKey"
    assert refused(bench(), session(HEADER | {"kid": "k0"}, ec_key("former"))) == "UnknownKey"


def test_foreign_keys_never_verify_for_our_issuer_nor_ours_for_a_foreign_one() -> None:
    both = bench(record(), record(trusting(), name="gateway"))
    forged = session({"alg": "RS256", "kid": "f1", "typ": "at+jwt"}, rsa_key("foreign"))
    assert both.reason(forged) == "UnknownKey"
    assert both.reason(session(iss=FOREIGN)) == "UnknownKey"


@pytest.mark.parametrize(
    ("typ", "token_type", "reason"),
    [
        ("at+jwt", ACCESS_TOKEN, ""),
        ("at+jwt", JWT_TYPE, ""),
        ("JWT", JWT_TYPE, ""),
        ("JWT", ACCESS_TOKEN, "WrongTokenType"),
        ("JWT", ID_TOKEN, "WrongTokenType"),
        ("at+jwt", ID_TOKEN, "WrongTokenType"),
        (None, JWT_TYPE, "WrongTokenType"),
        ("application/at+jwt", ACCESS_TOKEN, "WrongTokenType"),
        ("logout+jwt", JWT_TYPE, "WrongTokenType"),
    ],
)
def test_only_what_we_gave_as_access_token_or_jwt_is_a_session(typ: str | None, token_type: str, reason: str) -> None:
    header = {name: value for name, value in (HEADER | {"typ": typ}).items() if value}
    assert refused(bench(), session(header), subject_token_type=token_type) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"client_id": 7},
        {"sub": "tailseal:upstream:prod"},
    ],
)
def test_id_tokens_and_assertions_to_upstreams_are_no_sessions(changes: dict[str, object]) -> None:
    assert refused(bench(), session(HEADER | {"typ": "JWT"}, **changes)) == "WrongTokenType"


@pytest.mark.parametrize(
    ("members", "changes", "reason"),
    [
        ({}, {"aud": BEHIND}, "AudienceNotTrusted"),
        ({}, {"aud": OURS}, "AudienceNotTrusted"),
        ({"clients": ["policy:identity/*"]}, {}, ""),
        ({"clients": ["policy:team-a/*"]}, {}, "NoPolicyMatches"),
        ({"clients": ["grafana", "policy:identity/ci"]}, {}, ""),
        ({"users": ["*@corp.example"]}, {}, "NoPolicyMatches"),
        ({"users": ["*@corp.example"]}, {"username": "ana@corp.example"}, ""),
        ({"users": ["*"]}, {"username": "ana@corp.example"}, "NoPolicyMatches"),
        ({"users": ["ana@corp.example"]}, {"username": ["ana@corp.example"]}, "NoPolicyMatches"),
        ({"groups": ["sre"]}, {"groups": ["dev", "sre"]}, ""),
        ({"groups": ["sre"]}, {"groups": ["dev"]}, "NoPolicyMatches"),
        ({"groups": ["sre"]}, {"groups": "sre"}, "NoPolicyMatches"),
        ({"groups": ["sre"]}, {}, "NoPolicyMatches"),
        ({"groups": ["sre*"], "users": ["bo"]}, {"groups": ["sre-1"], "username": "bo"}, ""),
    ],
)
def test_clients_users_and_groups_narrow_whose_session(
    members: dict[str, Any], changes: dict[str, object], reason: str
) -> None:
    assert refused(bench(record(trusting(**members))), session(**changes)) == reason


def test_left_out_audiences_are_our_own() -> None:
    target = bench(record(SPEC | {"from": {"session": {}}}))
    assert refused(target, session(aud=OURS)) == ""
    assert refused(target, session()) == "AudienceNotTrusted"
    assert target.index.issuers(OURS)[0].kind == "session"


def bounded(**changes: Any) -> Settings:
    rule = {
        "name": "tenants",
        "namespaces": ("team-a",),
        "issuers": (OURS,),
        "key_sources": ("Session",),
        "subject_audiences": (GATEWAY,),
        "audiences": (BEHIND,),
        "max_ttl": 3600,
    }
    return SETTINGS.model_copy(update={"bounds": (Bound(**rule | changes),)})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, ""),
        ({"issuers": (FOREIGN,)}, "issuers"),
        ({"key_sources": ("Discovery", "JWKS")}, "keySources"),
        ({"subject_audiences": ()}, "subjectAudiences"),
    ],
)
def test_a_tenant_trusts_sessions_only_as_bounds_allow(changes: dict[str, Any], field: str) -> None:
    outcome = accepted(record(trusting(), namespace="team-a"), bounded(**changes))
    if not field:
        assert isinstance(outcome, CompiledPolicy)
    else:
        assert not isinstance(outcome, CompiledPolicy)
        assert [finding.message.rpartition(".")[2].rstrip(")") for finding in outcome] == [field]


def test_what_we_say_to_upstreams_is_nobodys_session() -> None:
    outcome = accepted(record(trusting(["tailseal:upstream:prod"])), SETTINGS)
    assert not isinstance(outcome, CompiledPolicy)
    assert [(finding.path, finding.reason) for finding in outcome] == [
        ("spec.from.session.audiences", "ReservedAudience")
    ]
    assert TARGET not in outcome[0].message


RESOURCE = f"audience/{BEHIND}"
WANTED = {"action": "exchange", "resource": RESOURCE}
MAY = {"v": 1, "allow": [{"action": ["exchange"], "resource": [RESOURCE]}]}


def standing(*values: Any) -> Standing:
    return Standing(capability.read(values, "ana@corp.example"), "ana@corp.example", values)


ELSEWHERE = {"v": 1, "allow": [{"action": ["exchange"], "resource": [f"audience/{GATEWAY}"]}]}
LOGIN = {"v": 1, "allow": [{"action": ["login"], "resource": ["*"]}]}
GRANTED: dict[str, tuple[dict[str, Standing] | None, dict[str, object], bool]] = {
    "what is wanted": ({"d0": standing(MAY)}, {}, True),
    "nothing": ({"d0": standing()}, {}, False),
    "another service": ({"d0": standing(ELSEWHERE)}, {}, False),
    "to log in": ({"d0": standing(LOGIN)}, {}, False),
    "whoever has another token": ({"d1": standing(MAY)}, {}, False),
    "nobody": ({}, {}, False),
    "nobody knows what": (None, {}, False),
    "what a claim says": ({}, {"capabilities": [MAY]}, False),
    "what a claim says in our own words": ({}, {"capabilities": {"login": "", "values": [MAY]}}, False),
    "nothing, but a claim says so": ({"d0": standing()}, {"capabilities": [MAY]}, False),
}


@pytest.mark.parametrize(("logins", "changes", "granted"), GRANTED.values(), ids=GRANTED)
@pytest.mark.parametrize("member", ["subject", "actor"])
def test_a_capability_is_what_the_tailnet_grants_the_person_now(
    logins: dict[str, Standing] | None, changes: dict[str, object], member: str, *, granted: bool
) -> None:
    shown = {"subject_token": session(**changes)}
    policy = trusting(capability=WANTED)
    if member == "actor":
        policy = trusting() | {"actors": [policy["from"]]}
        shown = {"subject_token": session(jti="s0"), "actor_token": shown["subject_token"]}
        shown["actor_token_type"] = JWT_TYPE
    outcome = bench(record(policy)).step(call(form(**shown), logins=logins))
    assert isinstance(outcome, Answered)
    assert outcome.result == ("granted" if granted else "refused")
    assert "allow" not in str(outcome.audit)


@pytest.mark.parametrize(
    ("wanted", "path"), [(WANTED | {"action": "delete"}, "action"), (WANTED | {"resource": "api"}, "resource")]
)
def test_what_no_capability_can_grant_is_no_policy(wanted: dict[str, str], path: str) -> None:
    outcome = accepted(record(trusting(capability=wanted)), SETTINGS)
    assert not isinstance(outcome, CompiledPolicy)
    assert [finding.path for finding in outcome] == [f"spec.from.session.capability.{path}"]


def test_explanations_keep_no_flood_of_capabilities() -> None:
    token = compact.split(session())
    for values, same in (((MAY,), False), ((MAY, {"note": "x" * 10_000}), True)):
        assert (kept(token, {"d0": standing(*values)}) == token) is same
    assert kept(token, {"d1": standing(MAY)}) == kept(token, None) == token


def exchanged(**changes: object) -> str:
    """A token of another Tailseal, as its exchange gives them."""
    content = claims(client_id="policy:identity/ci", iat=int(NOW) - 10, exp=int(NOW) + 200) | changes
    return token({name: value for name, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("client", "given"),
    [("policy:identity/ci", 200), ("policy", 600), ("grafana", 600), (None, 600), (["policy:x/y"], 600)],
    ids=repr,
)
def test_two_providers_that_trust_each_other_do_not_renew_a_token_for_ever(client: object, given: int) -> None:
    """What another Tailseal's exchange gave is not prolonged by ours: no ring of providers outlives its first token."""
    grant = {"name": "api", "jwt": {"audiences": [GATEWAY], "ttl": "10m"}}
    status, answer = bench(record(SPEC | {"grants": [grant]})).answer(call(form(exchanged(client_id=client))))
    assert (status, answer["expires_in"]) == (200, given)


def test_it_is_known_also_where_a_client_has_proven_that_the_exchange_was_its_own() -> None:
    grant = {"name": "api", "jwt": {"audiences": [GATEWAY], "ttl": "10m"}}
    theirs = exchanged(client_id="grafana", policy="identity/ci")
    _, answer = bench(record(SPEC | {"grants": [grant]})).answer(call(form(theirs)))
    assert answer["expires_in"] == 200


@pytest.mark.parametrize("jti", ["AAAAAAAAAAAAAAAAAAAAAA.BBBBBBBBBBBBBBBB", ".BBBBBBBBBBBBBBBB"])
def test_a_token_of_a_login_counts_only_where_it_is_known_whether_that_has_ended(jti: str) -> None:
    subject = session(jti=jti, client_id="grafana", sub="userid:1")
    assert refused(bench(), subject) == "SessionElsewhere"
    outcome = bench().step(call(form(subject), logins={}))
    assert isinstance(outcome, Answered)
    assert outcome.result == "granted"
