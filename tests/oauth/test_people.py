"""Who may log in, what is said of them, and what has to be asked first."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import oauthclients, trust
from tailseal.domain.caller import Caller, Known, Node, User
from tailseal.oauth import admission, authorize, claims, login, subject
from tailseal.oauth.admission import Person
from tailseal.oauth.authorize import AuthorizationRequest
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.idtoken import ACR
from tailseal.oauth.login import Asks, Seen
from tailseal.oauth.records import Access, Browser, Code, Consent, Login, Refreshing

CAPABILITY = "tailseal.dev/cap/idp"
ISSUER = "https://idp.tail.example"
ADDRESS = ip_address("100.64.0.1")
USER = User("7", "ana@corp.example", "Ana", "https://pic.example/ana", ("sre",))
MAY = {"v": 1, "allow": [{"action": ["login"], "resource": ["client/grafana"]}]}


def who(*values: Any, user: User | None = USER, tags: tuple[str, ...] = ()) -> Person:  # noqa: ANN401 - any JSON
    node = Node("nX", "12", "pc.tail.example", "nodekey:ab", tags, (ADDRESS,))
    return admission.person(Caller(node, user, {CAPABILITY: values}), CAPABILITY)


def robot(*values: Any, tag: str = "tag:ci") -> Person:  # noqa: ANN401
    return who(*values, user=None, tags=(tag,))


def may(client: dict[str, Any], person: Person) -> bool:
    compiled = oauthclients.client(**client)
    try:
        admission.check(compiled, person)
    except OAuthError as refused:
        found = (refused.error, refused.status)
    else:
        return True
    assert found == ("access_denied", 403)
    return False


@pytest.mark.parametrize(
    ("allow", "person", "allowed"),
    [
        (None, who(), False),
        (None, who(MAY), True),
        (None, who({"v": 1, "allow": [{"action": ["login"], "resource": ["client/other"]}]}), False),
        (None, who({"v": 1, "allow": [{"action": ["*"], "resource": ["*"]}]}), True),
        (None, who({"v": 2}), False),
        (None, robot(), False),
        (None, robot(MAY), True),
        ({"users": ["ana@corp.example"]}, who(), True),
        ({"users": ["*@corp.example"]}, who(), True),
        ({"users": ["*@other.example"]}, who(MAY), False),
        ({"users": ["*"]}, who(), False),
        ({"users": ["**"]}, robot(), False),
        ({"groups": ["sre"]}, who(), True),
        ({"groups": ["dev"]}, who(), False),
        ({"groups": ["dev"]}, who(MAY | {"claims": {"groups": ["dev"]}}), True),
        ({"groups": ["dev"]}, who(MAY | {"claims": {"groups": "dev"}}), False),
        ({"tags": ["tag:ci"]}, robot(), True),
        ({"tags": ["tag:*"]}, robot(), True),
        ({"tags": ["tag:ci"]}, robot(tag="tag:prod"), False),
        ({"tags": ["tag:ci"]}, who(), False),
        ({"capability": {"action": "login", "resource": "client/grafana"}}, robot(MAY), True),
        ({"capability": {"action": "login", "resource": "client/grafana"}}, who(), False),
        ({"users": ["nobody"], "capability": {"action": "login", "resource": "client/grafana"}}, who(MAY), True),
    ],
)
def test_who_may_log_in(allow: dict[str, Any] | None, person: Person, *, allowed: bool) -> None:
    assert may({"allow": allow}, person) is allowed


def test_scopes_are_of_the_client_or_of_a_capability() -> None:
    client = oauthclients.client(scopes=["openid", "email", "invoices.read"])
    more = who(MAY | {"scopes": ["offline_access", "groups"]})
    assert admission.granted(client, who(), ["openid", "unheard", "invoices.read"]) == ("openid", "invoices.read")
    assert admission.granted(client, who(), ["openid", "offline_access"]) == ("openid",)
    assert admission.granted(client, more, ["groups", "offline_access"]) == ("groups", "offline_access")
    with pytest.raises(OAuthError) as refused:
        admission.granted(client, who(), ["openid", "groups"])
    assert refused.value.error == "invalid_scope"


def said(
    person: Person,
    granted: list[str],
    *,
    userinfo: bool = False,
    wished: tuple[str, ...] = (),
    **spec: Any,  # noqa: ANN401 - as manifests have it
) -> dict[str, Any]:
    everything = ["openid", "profile", "email", "groups", "tailnet"]
    client = oauthclients.client(**{"scopes": everything} | spec)
    return claims.of(person, client, granted, wished, ISSUER, userinfo=userinfo)


def test_each_scope_tells_its_own() -> None:
    assert said(who(), ["openid"]) == {}
    assert said(who(), ["profile"]) == {
        "name": "Ana",
        "preferred_username": "ana",
        "username": "ana@corp.example",
        "picture": "https://pic.example/ana",
    }
    assert said(who(), ["email"]) == {"email": "ana@corp.example", "email_verified": True}
    assert said(who(), ["groups"]) == {"groups": ["sre"]}
    assert said(who(), ["tailnet"]) == {
        "addresses": ["100.64.0.1"],
        "key": "nodekey:ab",
        "nid": "12",
        "node": "pc.tail.example",
        "tailnet": "tail.example",
        "uid": "7",
    }


def test_machines_have_no_mail() -> None:
    assert said(robot(), ["profile", "email", "groups"]) == {
        "name": "pc.tail.example",
        "preferred_username": "pc.tail.example",
        "groups": ["tag:ci"],
    }


@pytest.mark.parametrize(
    ("name", "mail", "verified"),
    [
        ("ana@corp.example", "ana@corp.example", True),
        ("ana@github", "ana@github.idp.tail.example", False),
        ("ana@passkey", "ana@passkey.idp.tail.example", False),
        ("ana@headscale", "ana@headscale", False),
        ("ana", "", False),
        ("@corp.example", "", False),
        ("ana@", "", False),
    ],
)
def test_what_only_looks_like_a_mail_address_is_not_verified(name: str, mail: str, *, verified: bool) -> None:
    assert claims.email(name, "idp.tail.example") == (mail, verified)


def test_clients_get_more_by_name_and_by_capability() -> None:
    assert said(who(), ["openid"], claims=["node", "dept"]) == {"node": "pc.tail.example"}
    person = who(MAY | {"claims": {"dept": "x", "groups": ["dev", "sre"], "email_verified": False}})
    assert said(person, ["openid"]) == {"dept": "x"}
    assert said(person, ["groups", "email"]) == {
        "dept": "x",
        "groups": ["dev", "sre"],
        "email": "ana@corp.example",
        "email_verified": False,
    }


def test_what_differs_between_rules_is_left_out_and_login_goes_on() -> None:
    person = who(MAY | {"claims": {"dept": "x"}}, MAY | {"claims": {"dept": "y", "n": [1, True]}})
    assert said(person, ["openid"]) == {"n": [True, 1]}


def test_a_wish_gives_no_more_than_the_client_may_have() -> None:
    assert said(who(), ["openid"], wished=("email", "sub", "unheard"))["email"] == "ana@corp.example"
    assert said(who(), ["openid"], wished=("email",), scopes=["openid"]) == {}


def test_services_learn_the_login_name_and_groups_where_scopes_tell_them() -> None:
    client = oauthclients.client(scopes=["openid", "profile", "email", "groups"])
    assert claims.for_services(who(), client, ["openid", "email"]) == {}
    found = claims.for_services(who(), client, ["openid", "profile", "groups"])
    assert found == {"username": "ana@corp.example", "groups": ["sre"]}
    pairwise = oauthclients.client(subjectType="Pairwise", scopes=["openid", "profile", "groups"])
    assert claims.for_services(who(), pairwise, ["profile", "groups"]) == {}


def request(**changes: Any) -> AuthorizationRequest:  # noqa: ANN401
    asked = {
        "client_id": "grafana",
        "redirect_uri": "https://app.example/cb",
        "response_type": "code",
        "scope": "openid",
        "code_challenge": "x" * 43,
        "code_challenge_method": "S256",
    }
    form = {name: [value] for name, value in (asked | changes).items()}
    where = authorize.target(form, oauthclients.client())
    return authorize.read(form, where, trust.settings(bounds=()))


BROWSER = Browser(Known("nX", "7", ADDRESS), "userid:7", 1000, "sid")


@pytest.mark.parametrize(
    ("changes", "browser", "now", "asks"),
    [
        ({}, None, 1000, Asks(True, False)),
        ({}, BROWSER, 1000, Asks(False, False)),
        ({"prompt": "login"}, BROWSER, 1000, Asks(True, False)),
        ({"prompt": "select_account"}, BROWSER, 1000, Asks(True, False)),
        ({"prompt": "consent"}, BROWSER, 1000, Asks(False, True)),
        ({"prompt": "login consent"}, BROWSER, 1000, Asks(True, True)),
        ({"max_age": "60"}, BROWSER, 1059, Asks(False, False)),
        ({"max_age": "60"}, BROWSER, 1060, Asks(True, False)),
        ({"max_age": "0"}, BROWSER, 1000, Asks(True, False)),
        ({"login_hint": "ana@corp.example"}, BROWSER, 1000, Asks(False, False)),
        ({"login_hint": "bob@corp.example"}, BROWSER, 1000, Asks(True, False)),
    ],
)
def test_what_has_to_be_asked(changes: dict[str, str], browser: Browser | None, now: float, asks: Asks) -> None:
    assert login.asks(request(**changes), who(), ("openid",), Seen(browser, frozenset(), now)) == asks


@pytest.mark.parametrize(
    ("asks", "error"),
    [(Asks(True, True), "login_required"), (Asks(False, True), "consent_required"), (Asks(False, False), "")],
)
def test_nothing_is_asked_silently(asks: Asks, error: str) -> None:
    found = ""
    try:
        login.check_silent(request(prompt="none"), asks)
    except OAuthError as refused:
        found = refused.error
    assert found == error


@pytest.mark.parametrize(
    ("wished", "error"),
    [
        ('{"id_token": {"sub": {"value": "userid:7"}}}', ""),
        ('{"id_token": {"sub": {"value": "userid:8"}}}', "login_required"),
        ('{"id_token": {"acr": {"essential": true, "values": ["gold"]}}}', "unmet_authentication_requirements"),
        ('{"id_token": {"acr": {"values": ["gold"]}}}', ""),
        (f'{{"id_token": {{"acr": {{"essential": true, "values": ["gold", "{ACR}"]}}}}}}', ""),
    ],
)
def test_what_a_client_insists_on(wished: str, error: str) -> None:
    found = ""
    try:
        login.check_wishes(request(claims=wished), "userid:7")
    except OAuthError as refused:
        found = refused.error
    assert found == error


def test_pairwise_subjects_tell_hosts_apart_and_nothing_else() -> None:
    one = oauthclients.client("one", subjectType="Pairwise")
    same = oauthclients.client("same", subjectType="Pairwise")
    other = oauthclients.client("other", subjectType="Pairwise", redirectURIs=["https://other.example/cb"])
    salt = subject.salt_of(b"k" * 32)
    subjects = [subject.subject_for(client, "userid:7", salt) for client in (one, same, other)]
    assert subjects[0] == subjects[1] != subjects[2]
    assert "userid" not in subjects[0]
    assert subject.subject_for(one, "userid:7", subject.salt_of(b"j" * 32)) != subjects[0]
    assert subject.subject_for(oauthclients.client(), "userid:7", salt) == "userid:7"


@given(st.text(), st.lists(st.text()), st.integers(0, 2**40), st.sampled_from(["100.64.0.1", "fd7a:115c:a1e0::1"]))
def test_what_is_kept_is_read_as_it_was(text: str, texts: list[str], time: int, address: str) -> None:
    known = Known(text, text, ip_address(address))
    for kept in (
        Login(text, text, text, known, tuple(texts), tuple(texts), time, text, text, time + 0.5),
        Browser(known, text, time, text),
        Code(text, text, text, text),
        Refreshing(text),
        Consent(text, tuple(texts)),
        Access({"aud": texts, "exp": time}),
    ):
        assert type(kept).from_bytes(kept.to_bytes()) == kept
