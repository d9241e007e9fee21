"""What tailscaled answers, as recorded and as it must never be: who it names, and when it names nobody."""

from __future__ import annotations

import datetime as dt
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.localapi import recorded
from tailseal.domain.caller import Caller, Node, User
from tailseal.tailnet import NobodyError, Outage, Refusal, UnavailableError, whois

NOW = dt.datetime(2026, 11, 21, 6, 0, tzinfo=dt.UTC).timestamp()
MINUTE = 60.0


def changed(name: str, **changes: object) -> dict[str, Any]:
    answer = recorded(name)
    for place, value in changes.items():
        outer, _, inner = place.partition("__")
        if inner:
            answer[outer][inner] = value
        else:
            answer[outer] = value
    return answer


def test_a_users_node_is_that_person_with_what_they_were_granted() -> None:
    answer = recorded("user")
    found = whois.caller(answer, NOW)
    assert found == Caller(
        Node(
            stable_id=answer["Node"]["StableID"],
            id=str(answer["Node"]["ID"]),
            name="alice.tn.test",
            key=answer["Node"]["Key"],
            tags=(),
            addresses=tuple(ip_address(text.split("/")[0]) for text in answer["Node"]["Addresses"]),
        ),
        User(id="1", login="alice@example.com", display_name="Alice Ä"),
        capabilities={name: tuple(values) for name, values in answer["CapMap"].items()},
    )
    assert found.subject == "userid:1"
    assert found.node.tailnet == "tn.test"
    assert found.capabilities["tailseal.dev/cap/empty"] == ()


def test_a_tagged_node_is_a_machine_and_nobodys() -> None:
    found = whois.caller(recorded("tagged"), NOW)
    assert found.user is None
    assert found.node.tags == ("tag:ci",)
    assert found.subject == f"node:{found.node.stable_id}"
    assert found.capabilities == {}, "null: nothing was granted"


def test_capabilities_are_those_towards_us_and_not_the_nodes_own() -> None:
    answer = recorded("self")
    assert answer["Node"]["CapMap"], "the recording has them"
    assert whois.caller(answer, NOW).capabilities == {}


def test_an_expired_node_is_nobody_although_the_answer_still_has_its_capabilities() -> None:
    answer = recorded("expired")
    assert answer["CapMap"], "the recording has them"
    with pytest.raises(NobodyError) as caught:
        whois.caller(answer, NOW)
    assert caught.value.reason is Refusal.EXPIRED


@pytest.mark.parametrize(
    ("expiry", "expired"),
    [
        ("2026-11-21T06:00:00Z", True),
        ("2026-11-21T05:59:59.999999999Z", True),
        ("2026-11-21T07:00:00+02:00", True),
        ("2026-11-21T06:00:01Z", False),
        ("2026-11-21T06:30:00.123456789Z", False),
        ("0001-01-01T00:00:00Z", False),
        (None, False),
    ],
)
def test_the_expiry_is_compared_with_our_own_clock(expiry: str | None, *, expired: bool) -> None:
    answer = changed("user", Node__KeyExpiry=expiry)
    if not expired:
        assert whois.caller(answer, NOW).subject == "userid:1"
        return
    with pytest.raises(NobodyError):
        whois.caller(answer, NOW)


def test_ids_beyond_what_many_json_readers_know_stay_exact() -> None:
    large = 2**63 - 1
    found = whois.caller(changed("user", Node__User=large, UserProfile__ID=large), NOW)
    assert found.subject == "userid:9223372036854775807"


def test_a_name_is_for_people_and_never_identity() -> None:
    before = whois.caller(recorded("user"), NOW)
    renamed = whois.caller(changed("user", UserProfile__LoginName="root@example.com", Node__Name="idp.tn.test."), NOW)
    assert renamed.subject == before.subject
    assert before.known.is_of(renamed)


def test_groups_of_the_control_server_are_told_sorted() -> None:
    found = whois.caller(changed("user", UserProfile__Groups=["sre@example.com", "group:eng"]), NOW)
    assert found.user is not None
    assert found.user.groups == ("group:eng", "sre@example.com")


@pytest.mark.parametrize(
    ("why", "answer"),
    [
        ("null", None),
        ("a list", []),
        ("empty", {}),
        ("no node", changed("user", Node=None)),
        ("no profile", changed("user", UserProfile=None)),
        ("a tagged node without a profile", changed("tagged", UserProfile=[])),
        ("no stable id", changed("user", Node__StableID="")),
        ("a stable id that is a number", changed("user", Node__StableID=1)),
        ("no user", changed("user", UserProfile__ID=0, Node__User=0)),
        ("a user id that is a string", changed("user", UserProfile__ID="1", Node__User="1")),
        ("a user id that is a decimal", changed("user", UserProfile__ID=1.0, Node__User=1.0)),
        ("a user id that is true", changed("user", UserProfile__ID=True, Node__User=True)),
        ("somebody else's profile", changed("user", UserProfile__ID=2)),
        ("the stand-in for nobody without tags", changed("tagged", Node__Tags=None)),
        ("no login", changed("user", UserProfile__LoginName="")),
        ("tags that are a text", changed("tagged", Node__Tags="tag:ci")),
        ("a tag that is null", changed("tagged", Node__Tags=[None])),
        ("no addresses", changed("user", Node__Addresses=[])),
        ("addresses that are none", changed("user", Node__Addresses=["alice"])),
        ("expired in words", changed("user", Node__Expired="false")),
        ("an expiry that is no time", changed("user", Node__KeyExpiry="soon")),
        ("an expiry that is a number", changed("user", Node__KeyExpiry=1)),
        ("an expiry without a zone", changed("user", Node__KeyExpiry="2027-01-01T00:00:00")),
        ("capabilities in a list", changed("user", CapMap=[])),
        ("a capability that is an object", changed("user", CapMap={"tailseal.dev/cap/idp": {"v": 1}})),
        ("groups that are a text", changed("user", UserProfile__Groups="admins")),
    ],
)
def test_what_is_not_understood_names_nobody(why: str, answer: object) -> None:
    with pytest.raises((NobodyError, UnavailableError)) as caught:
        whois.caller(answer, NOW)
    expired = why == "expired in words"
    assert caught.value.reason is (Refusal.EXPIRED if expired else Outage.MALFORMED), why


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.text(max_size=4), max_size=2)


@given(
    st.sampled_from(["user", "tagged", "expired"]),
    st.lists(
        st.tuples(
            st.sampled_from(["Node", "UserProfile", "CapMap"]),
            st.sampled_from(["StableID", "ID", "User", "Tags", "Expired", "KeyExpiry", "Addresses", "LoginName", "x"]),
            VALUES,
        ),
        max_size=3,
    ),
)
def test_whatever_is_answered_there_is_a_caller_or_a_reason(name: str, changes: list[tuple[str, str, Any]]) -> None:
    answer = recorded(name)
    for outer, inner, value in changes:
        answer[outer] = (answer[outer] or {}) | {inner: value}
    try:
        found = whois.caller(answer, NOW)
    except (NobodyError, UnavailableError):
        return
    assert answer["Node"].get("Expired", False) is False
    assert (found.user is None) == bool(answer["Node"].get("Tags"))


def test_our_own_node_is_known_by_its_name_and_its_state() -> None:
    assert whois.own_node(recorded("status")) == whois.OwnNode("Running", "idp.tn.test", "1")
    assert whois.own_node(recorded("status_starting")) == whois.OwnNode("NoState", "")
    for answer in (None, {}, {"BackendState": 1}, {"BackendState": "Running", "Self": []} | {"Self": "idp"}):
        with pytest.raises(UnavailableError):
            whois.own_node(answer)
