"""Claims: required, typed, in time; booleans and floats are no times."""

# ruff: noqa: FBT001 - keys, claims and cases are of many types
from __future__ import annotations

import pytest

from fakes.exchange import NOW, claims
from tailseal.tokens import verify
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import Fault, TokenError

T = int(NOW)


def fault(**changes: object) -> Fault | None:
    content = claims(**changes)
    try:
        verify.issuer(content)
        verify.check_claims(content, now=NOW, skew=60)
        verify.audiences(content)
    except TokenError as error:
        return error.reason
    return None


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp", "iat"])
def test_each_required_claim_is_missed(name: str) -> None:
    assert fault(**{name: None}) is Fault.CLAIM_MISSING


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", [True, False, 1.5, 1e9, "1800000000", [T], {}, -1, 2**63, 10**30])
def test_only_whole_seconds_are_a_time(name: str, value: object) -> None:
    assert fault(**{name: value}) is Fault.CLAIM_MALFORMED


@pytest.mark.parametrize("value", ["", 7, True, ["x"], {}, "x" * 2049])
@pytest.mark.parametrize("name", ["iss", "sub", "jti"])
def test_texts_are_texts(name: str, value: object) -> None:
    assert fault(**{name: value}) is Fault.CLAIM_MALFORMED


@pytest.mark.parametrize("value", [[], [7], ["a", None], [["a"]], {"a": 1}, 7, "", ["a"] * 65])
def test_an_audience_is_a_text_or_a_list_of_texts(value: object) -> None:
    assert fault(aud=value) is Fault.CLAIM_MALFORMED


def test_several_audiences_keep_their_order() -> None:
    assert verify.audiences({"aud": ["b", "a"]}) == ("b", "a")
    assert verify.audiences({"aud": "b"}) == ("b",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": T - 59}, None),
        ({"exp": T - 60}, Fault.EXPIRED),
        ({"iat": T + 60}, None),
        ({"iat": T + 61}, Fault.NOT_YET_VALID),
        ({"nbf": T + 60}, None),
        ({"nbf": T + 61}, Fault.NOT_YET_VALID),
        ({"nbf": None}, None),
        ({"jti": "one"}, None),
    ],
)
def test_times_hold_with_the_skew_and_not_a_second_more(changes: dict[str, object], expected: Fault | None) -> None:
    assert fault(**changes) is expected


@pytest.mark.parametrize(
    ("typ", "token_type", "good"),
    [
        (None, verify.JWT, True),
        ("JWT", verify.JWT, True),
        ("jwt", verify.ID_TOKEN, True),
        ("at+jwt", verify.ACCESS_TOKEN, True),
        ("application/at+jwt", verify.JWT, True),
        ("at+jwt", verify.ID_TOKEN, False),
        ("dpop+jwt", verify.JWT, False),
        ("oauth-id-jag+jwt", verify.JWT, False),
        ("logout+jwt", verify.ACCESS_TOKEN, False),
        ("secevent+jwt", verify.JWT, False),
    ],
)
def test_a_token_made_for_another_use_is_refused(typ: str | None, token_type: str, good: bool) -> None:
    token = Compact({"typ": typ} if typ else {}, {}, b"", b"s", "RS256", None)
    if good:
        verify.check_type(token, token_type)
        return
    with pytest.raises(TokenError) as caught:
        verify.check_type(token, token_type)
    assert caught.value.reason is Fault.WRONG_TYPE
