"""App capabilities: what each schema allows, what tokens then say, and what malformed rules never do."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.domain import capability
from tailseal.domain.capability import Capabilities, audience, client, read, read_tscap
from tailseal.domain.capability.claims import RESERVED
from tailseal.domain.tenancy.minting import OUR_CLAIMS

LOGIN = {"v": 1, "allow": [{"action": ["login"], "resource": ["client/grafana"]}]}
BILLING = "https://billing.corp.example"


def rule(*allow: tuple[list[str], list[str]], **more: object) -> dict[str, Any]:
    return {"v": 1, "allow": [{"action": action, "resource": resource} for action, resource in allow], **more}


@pytest.mark.parametrize(
    ("values", "action", "resources", "allowed"),
    [
        ([], "login", ["client/grafana"], False),
        ([LOGIN], "login", ["client/grafana"], True),
        ([LOGIN], "login", ["client/wiki"], False),
        ([LOGIN], "login", ["client/Grafana"], False),
        ([LOGIN], "login", ["client/grafana2"], False),
        ([LOGIN], "exchange", ["client/grafana"], False),
        ([LOGIN], "*", ["client/grafana"], False),
        ([LOGIN], "login", ["*"], False),
        ([rule((["login"], ["*"]))], "login", ["client/wiki"], True),
        ([rule((["login"], ["*"]))], "login", ["*"], True),
        ([rule((["login"], ["*"]))], "register", ["*"], False),
        ([rule((["*"], ["client/wiki"]))], "login", ["client/wiki"], True),
        ([rule((["*"], ["client/wiki"]))], "admin", ["*"], False),
        ([rule((["*"], ["*"]))], "admin", ["*"], True),
        ([rule((["register"], ["*"]))], "register", ["*"], True),
        ([rule((["register"], ["client/wiki"]))], "register", ["*"], False),
        ([rule((["exchange"], [f"audience/{BILLING}"]))], "exchange", [audience(BILLING)], True),
        ([rule((["exchange"], [f"audience/{BILLING}"]))], "exchange", [audience(BILLING + "/")], False),
        ([rule((["exchange"], [f"audience/{BILLING}"]))], "exchange", [client(BILLING)], False),
        ([rule((["exchange"], ["audience/a", "audience/b"]))], "exchange", ["audience/a", "audience/b"], True),
        ([rule((["exchange"], ["audience/a"]))], "exchange", ["audience/a", "audience/b"], False),
        (
            [rule((["exchange"], ["audience/a"])), rule((["exchange"], ["audience/b"]))],
            "exchange",
            ["audience/a", "audience/b"],
            False,
        ),
        ([rule((["login"], []), (["register"], ["*"]))], "login", ["client/grafana"], False),
        ([rule(([], ["*"]))], "login", ["client/grafana"], False),
    ],
)
def test_a_grant_allows_what_it_covers_wholly_and_nothing_else(
    values: list[Any], action: str, resources: list[str], *, allowed: bool
) -> None:
    found = read(values)
    assert found.allow(action, *resources) is allowed
    assert found.malformed == ()


def test_a_requirement_without_a_resource_is_a_mistake_and_not_allowed_to_everybody() -> None:
    with pytest.raises(ValueError, match="at least one resource"):
        read([rule((["*"], ["*"]))]).allow("login")


@pytest.mark.parametrize(
    ("why", "value", "where"),
    [
        ("no object", ["login"], ""),
        ("null", None, ""),
        ("nothing known", {}, ""),
        ("another schema", {"role": "admin"}, ""),
        ("a later version", {"v": 2, "allow": []}, "v"),
        ("the version as a string", {"v": "1"}, "v"),
        ("the version as a boolean", {"v": True}, "v"),
        ("the version as a decimal", {"v": 1.0}, "v"),
        ("no allow", {"v": 1}, "allow"),
        ("allow is an object", {"v": 1, "allow": {"action": ["login"]}}, "allow"),
        ("an entry is a string", {"v": 1, "allow": ["login"]}, "allow[0]"),
        ("no action", {"v": 1, "allow": [{"resource": ["*"]}]}, "allow[0].action"),
        ("no resource", {"v": 1, "allow": [{"action": ["login"]}]}, "allow[0].resource"),
        ("an action as a string", {"v": 1, "allow": [{"action": "login", "resource": ["*"]}]}, "allow[0].action"),
        ("an unknown action", rule((["login", "delete"], ["*"])), "allow[0].action"),
        ("tscap's plural", {"v": 1, "allow": [{"action": ["login"], "resources": ["*"]}]}, "allow[0].resources"),
        ("a wildcard in a resource", rule((["login"], ["client/*"])), "allow[0].resource"),
        ("a resource of no kind", rule((["login"], ["grafana"])), "allow[0].resource"),
        ("a resource without a name", rule((["login"], ["client/"])), "allow[0].resource"),
        ("half a character", rule((["login"], ["client/\ud800"])), "allow[0].resource"),
        ("the second entry", rule((["login"], ["*"]), (["login"], [""])), "allow[1].resource"),
        ("a number among strings", rule((["login"], ["*", 1])), "allow[0].resource"),  # type: ignore[list-item]
        ("a list among strings", rule((["login"], ["*", ["*"]])), "allow[0].resource"),  # type: ignore[list-item]
        ("too many resources", rule((["login"], ["client/a"] * 257)), "allow[0].resource"),
        ("a resource too long", rule((["login"], ["client/" + "a" * 2048])), "allow[0].resource"),
        ("an unknown member", LOGIN | {"deny": []}, "deny"),
        ("a member that is no line", LOGIN | {"a\nb\x1b": 1}, "a\\nb\\x1b"),
        ("claims are a list", LOGIN | {"claims": ["groups"]}, "claims"),
        ("a claim of ours", LOGIN | {"claims": {"sub": "userid:1"}}, "claims.sub"),
        ("a claim about the person", LOGIN | {"claims": {"email": "ceo@corp.example"}}, "claims.email"),
        ("a claim is an object", LOGIN | {"claims": {"team": {"a": 1}}}, "claims.team"),
        ("a claim is null", LOGIN | {"claims": {"team": None}}, "claims.team"),
        ("a list in a list", LOGIN | {"claims": {"groups": [["sre"]]}}, "claims.groups"),
        ("a claim that cannot be sent", LOGIN | {"claims": {"team": "\ud800"}}, "claims.team"),
        ("a claim beyond what JSON readers know", LOGIN | {"claims": {"n": 2**53}}, "claims.n"),
        ("a claim that is no number", LOGIN | {"claims": {"n": float("nan")}}, "claims.n"),
        ("a claim without a name", LOGIN | {"claims": {"": 1}}, "claims"),
        ("a scope with a blank", LOGIN | {"scopes": ["a b"]}, "scopes"),
        ("a scope as a string", LOGIN | {"scopes": "openid"}, "scopes"),
        ("tsidp's flag as a string", {"allow_admin_ui": "yes"}, "allow_admin_ui"),
        ("tsidp's users as a string", {"users": "*", "resources": ["*"]}, "users"),
        ("tsidp's claims as a list", {"extraClaims": []}, "extraClaims"),
        ("tscap's resources as a string", {"action": ["read"], "resources": "*"}, "resources"),
    ],
)
def test_a_malformed_rule_is_skipped_and_shown_and_costs_the_others_nothing(
    why: str, value: object, where: str
) -> None:
    found = read([LOGIN, value, rule((["register"], ["*"]))])
    assert [(one.number, one.where, one.skipped) for one in found.malformed] == [(1, where, True)], why
    assert str(found.malformed[0]).startswith("[1]")
    assert str(found.malformed[0]).endswith("the rule is skipped")
    assert found.rules == read([LOGIN, rule((["register"], ["*"]))]).rules


@pytest.mark.parametrize(
    ("action", "resource", "require", "allowed"),
    [
        (["*"], ["items/123"], ("read", "items/123"), True),
        (["read"], ["items/123"], ("read", "items/123"), True),
        (["write"], ["items/123"], ("read", "items/123"), False),
        (["write", "read"], ["items/123"], ("read", "items/123"), True),
        ([], ["items/123"], ("read", "items/123"), False),
        (["read"], ["*"], ("read", "items/123"), True),
        (["read"], ["items/*"], ("read", "items/*"), True),
        (["read"], ["items/*"], ("read", "items/123"), False),
        (["read"], ["items/123"], ("read", "items/456"), False),
        (["read"], ["users/*", "*"], ("read", "items/123"), True),
        (["read"], [], ("read", "items/123"), False),
    ],
)
def test_tscap_grants_match_as_they_do_in_tscap(
    action: list[str], resource: list[str], require: tuple[str, str], *, allowed: bool
) -> None:
    grant = {"action": action, "resources": resource, "note": "ignored"}
    assert read_tscap([grant]).allow(*require) is allowed
    assert read([grant]).allow(*require) is allowed
    assert read_tscap([grant, {"action": 1}, ["x"]]).allow(*require) is allowed
    with_v = {"v": 1, "allow": [{"action": action, "resource": resource}]}
    assert read_tscap([with_v]).allow(*require) is allowed


TSIDP = {"users": ["ana@corp.example"], "resources": [BILLING]}


@pytest.mark.parametrize(
    ("value", "login", "action", "resource", "allowed"),
    [
        ({"allow_admin_ui": True}, "", "admin", "*", True),
        ({"allow_admin_ui": True}, "", "register", "*", False),
        ({"allow_admin_ui": False}, "", "admin", "*", False),
        ({"allow_admin_ui": None, "users": None}, "", "admin", "*", False),
        ({"allow_dcr": True}, "", "register", "*", True),
        ({"allow_dcr": True}, "", "admin", "*", False),
        ({"allow_dcr": True, "allow_admin_ui": True}, "", "login", "client/grafana", False),
        (TSIDP, "ana@corp.example", "exchange", audience(BILLING), True),
        (TSIDP, "ben@corp.example", "exchange", audience(BILLING), False),
        (TSIDP, "", "exchange", audience(BILLING), False),
        (TSIDP | {"users": ["*"]}, "", "exchange", audience(BILLING), True),
        (TSIDP | {"users": []}, "ana@corp.example", "exchange", audience(BILLING), False),
        (TSIDP | {"users": [], "resources": ["*"]}, "", "exchange", audience(BILLING), False),
        (TSIDP, "ana@corp.example", "exchange", audience("https://other.corp.example"), False),
        (TSIDP | {"resources": ["*"]}, "ana@corp.example", "exchange", audience(BILLING), True),
        (TSIDP, "ana@corp.example", "login", "client/grafana", False),
        (TSIDP | {"unknown": 1}, "ana@corp.example", "exchange", audience(BILLING), True),
    ],
)
def test_tsidps_flat_rule_allows_what_it_allows_in_tsidp(
    value: dict[str, Any], login: str, action: str, resource: str, *, allowed: bool
) -> None:
    found = read([value], login)
    assert found.allow(action, resource) is allowed
    assert found.malformed == ()


def test_tsidps_claims_are_for_every_client_and_told_at_userinfo_only_if_the_rule_says_so() -> None:
    found = read([{"extraClaims": {"groups": ["b", "a"]}, "includeInUserInfo": True}, {"extraClaims": {"level": 3}}])
    assert found.claims(client("grafana")).values == {"groups": ("a", "b"), "level": 3}
    assert found.claims(client("grafana"), userinfo=True).values == {"groups": ("a", "b")}
    assert not found.allow("login", client("grafana"))


def test_what_tsidp_cannot_say_in_a_claim_is_left_out_and_shown_and_the_rule_holds() -> None:
    found = read([{"allow_dcr": True, "extraClaims": {"sub": "x", "map": {"a": 1}, "team": "sre"}}])
    assert found.allow("register", "*")
    assert found.claims("client/a").values == {"team": "sre"}
    assert [(one.where, one.skipped) for one in found.malformed] == [
        ("extraClaims.sub", False),
        ("extraClaims.map", False),
    ]


@pytest.mark.parametrize(
    ("said", "values", "conflicts"),
    [
        ([{"groups": ["sre"]}, {"groups": ["dev", "sre"]}], {"groups": ("dev", "sre")}, ()),
        ([{"groups": [1, "1", True, 1.0]}], {"groups": (True, 1.0, 1, "1")}, ()),
        ([{"groups": []}], {"groups": ()}, ()),
        ([{"team": "a"}, {"team": "a"}], {"team": "a"}, ()),
        ([{"team": "a"}, {"team": "b"}, {"level": 1}], {"level": 1}, ("team",)),
        ([{"team": 1}, {"team": True}], {}, ("team",)),
        ([{"team": 1}, {"team": 1.0}], {}, ("team",)),
        ([{"team": "a"}, {"team": ["a"]}], {}, ("team",)),
        ([], {}, ()),
    ],
)
def test_lists_are_united_by_type_and_what_differs_is_left_out(
    said: list[dict[str, Any]], values: dict[str, Any], conflicts: tuple[str, ...]
) -> None:
    merged = read([rule((["login"], ["*"]), claims=claims) for claims in said]).claims("client/grafana")
    assert merged.conflicts == conflicts
    assert repr(dict(merged.values)) == repr(values), "types count: 1 is not true"


def test_claims_and_scopes_hold_for_the_resources_of_the_same_rule_only() -> None:
    found = read(
        [
            rule((["login"], ["client/grafana"]), claims={"groups": ["sre"]}, scopes=["offline_access"]),
            rule((["scope"], ["client/wiki"]), scopes=["wiki.write"]),
            rule((["admin"], ["*"]), scopes=["everywhere"]),
        ]
    )
    assert found.scopes(client("grafana")) == {"offline_access", "everywhere"}
    assert found.scopes(client("wiki")) == {"wiki.write", "everywhere"}
    assert found.claims(client("wiki")).values == {}
    assert not found.allow("login", client("wiki"))
    assert found.scopes("*") == {"everywhere"}


def test_no_rule_may_say_what_is_ours_to_say() -> None:
    assert OUR_CLAIMS <= RESERVED
    assert "groups" not in RESERVED


NAMES = st.sampled_from(["login", "register", "admin", "exchange", "scope", "*"])
RESOURCES = st.sampled_from(["client/a", "client/b", "audience/x", "audience/y", "*"])
SCALARS = st.one_of(st.sampled_from(["a", "b", "1"]), st.booleans(), st.integers(0, 2), st.sampled_from([0.0, 1.0]))
CLAIMS = st.dictionaries(st.sampled_from(["groups", "team"]), SCALARS | st.lists(SCALARS, max_size=3), max_size=2)
V1 = st.builds(
    lambda allow, claims, scopes: rule(*allow, claims=claims, scopes=scopes),
    st.lists(st.tuples(st.lists(NAMES, max_size=2), st.lists(RESOURCES, max_size=2)), min_size=1, max_size=3),
    CLAIMS,
    st.lists(st.sampled_from(["openid", "x"]), max_size=2),
)
FLAT = st.fixed_dictionaries(
    {},
    optional={
        "allow_admin_ui": st.booleans(),
        "allow_dcr": st.booleans(),
        "users": st.lists(st.sampled_from(["ana", "ben", "*"]), max_size=2),
        "resources": st.lists(st.sampled_from(["x", "y", "*"]), max_size=2),
        "extraClaims": CLAIMS,
    },
).filter(bool)
TSCAP = st.fixed_dictionaries({"action": st.lists(NAMES, max_size=2)}, optional={"resources": st.lists(RESOURCES)})
RULES = st.lists(V1 | FLAT | TSCAP, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
# What somebody mistyped: a good rule with one member of another kind. Its keys say which schema was meant.
MISTYPED = st.builds(
    lambda good, member, bad: good | {member: bad},
    V1,
    st.sampled_from(["v", "allow", "claims", "scopes", "deny"]),
    JSON,
)
REQUIREMENTS = [
    (str(action), frozenset(resources))
    for action in [*capability.Action, "*"]
    for resources in (["client/a"], ["audience/x"], ["audience/x", "audience/y"], ["*"])
]


def allowed(found: Capabilities) -> set[tuple[str, frozenset[str]]]:
    return {(action, resources) for action, resources in REQUIREMENTS if found.allow(action, *resources)}


def told(found: Capabilities) -> str:
    places = ["client/a", "client/b", "audience/x", "*"]
    return repr([(found.scopes(place), found.claims(place), found.claims(place, userinfo=True)) for place in places])


@given(RULES, RULES)
def test_rules_only_add(some: list[Any], more: list[Any]) -> None:
    fewer, all_ = read(some, "ana"), read(some + more, "ana")
    assert allowed(fewer) <= allowed(all_)
    assert fewer.scopes("client/a") <= all_.scopes("client/a")


@given(RULES, st.randoms(use_true_random=False))
def test_the_order_of_rules_does_not_matter(rules: list[Any], random: Random) -> None:
    shuffled = random.sample(rules, len(rules))
    one, other = read(rules, "ana"), read(shuffled, "ana")
    assert allowed(one) == allowed(other)
    assert {place: one.claims(place) for place in ["client/a", "*"]} == {
        place: other.claims(place) for place in ["client/a", "*"]
    }
    assert sorted(one.scopes("client/a")) == sorted(other.scopes("client/a"))


@given(RULES, JSON | MISTYPED, st.integers(0, 5))
def test_a_malformed_rule_changes_nothing_wherever_it_stands(rules: list[Any], odd: object, at: int) -> None:
    alone = read([odd], "ana")
    without, with_it = read(rules, "ana"), read([*rules[:at], odd, *rules[at:]], "ana")
    if alone.rules:
        return  # it came out well-formed
    assert len(with_it.malformed) == len(without.malformed) + 1
    assert allowed(with_it) == allowed(without)
    assert told(with_it) == told(without)


@given(st.lists(JSON, max_size=3))
def test_whatever_is_written_is_read_without_an_error_and_shown_in_one_line(values: list[Any]) -> None:
    for found in (read(values), read_tscap(values)):
        assert len({one.number for one in found.malformed}) + len(found.rules) >= len(values)
        for one in found.malformed:
            assert str(one).isprintable()


@given(RULES)
def test_nothing_is_allowed_that_no_single_rule_allows(rules: list[Any]) -> None:
    together = allowed(read(rules, "ana"))
    assert together == set[Any]().union(*(allowed(read([one], "ana")) for one in rules))
    assert json.dumps(sorted(read(rules).scopes("client/a")))
