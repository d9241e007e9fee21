"""Every endpoint against input that is wrong in every way: the standard's error, JSON or a page, and no internals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes import idp, oauthclients
from fakes.idp import CALLBACK, Browser, Provider
from fakes.idpplaces import FORM, PLACES, check
from tailseal.domain.bundle.model import Introductions
from tailseal.oauth import device
from tailseal.tokens import compact
from tailseal.workers.idp import app
from tailseal.workers.idp.endpoint import MAX_BODY_BYTES

API = "https://api.example"
GRANTS = ["authorization_code", "refresh_token", "client_credentials", device.GRANT_TYPE]
EVERYBODY = {"users": ["*@corp.example"]}
APP = oauthclients.record(grantTypes=GRANTS, audiences=[API], allow=EVERYBODY)
OTHER = oauthclients.record("other", grantTypes=GRANTS, allow=EVERYBODY)
RELAXED = oauthclients.record("relaxed", pkce="OptionalWithNonce", allow=EVERYBODY)

POSTED = {path: place for path, place in PLACES.items() if "POST" in place.methods}
FORMS = {path: place for path, place in POSTED.items() if place.reads == FORM}
every = pytest.mark.parametrize("path", PLACES)
posted = pytest.mark.parametrize("path", POSTED)
forms = pytest.mark.parametrize("path", FORMS)


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, OTHER, RELAXED, introductions=Introductions(dynamic=True)) as made:
        yield made


@pytest.fixture
def ana(provider: Provider) -> Browser:
    return provider.browser()


@posted
@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "", "other"])
async def test_another_content_type_is_refused(ana: Browser, path: str, kind: str) -> None:
    place = PLACES[path]
    other = "application/json" if place.reads == FORM else FORM
    headers = {"content-type": other if kind == "other" else kind}
    check(await ana.http.post(path, content=b"a=b", headers=headers), 400, place)


@posted
async def test_too_large_a_body_is_refused(ana: Browser, path: str) -> None:
    place = PLACES[path]
    content = b"a=" + b"x" * MAX_BODY_BYTES
    check(await ana.http.post(path, content=content, headers={"content-type": place.reads}), 413, place)


BODIES = {
    "bytes that are no text": b"token=\xff\xfe",
    "escapes that are no UTF-8": b"token=%ff%fe",
    "half a surrogate": b"token=%ed%a0%80",
    "a broken escape": b"token=%zz",
    "an escape cut off": b"token=%4",
    "too many parameters": b"&".join(b"a%d=b" % number for number in range(100)),
}


@forms
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_that_is_no_form_is_refused(ana: Browser, path: str, body: bytes) -> None:
    check(await ana.http.post(path, content=body, headers={"content-type": FORM}), 400, PLACES[path])


@pytest.mark.parametrize("path", ["/token", "/introspect", "/revoke", "/par", "/device_authorization", "/logout"])
@pytest.mark.parametrize("name", ["client_id", "token", "grant_type", "code", "unheard_of"])
async def test_a_parameter_that_stands_twice_is_refused(ana: Browser, path: str, name: str) -> None:
    body = f"{name}=a&{name}=a&token=x".encode()
    check(await ana.http.post(path, content=body, headers={"content-type": FORM}), 400, PLACES[path])


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"a":1,"a":2}', b"\xff", b"[" * 5000, b'{"redirect_uris":1}']
)
async def test_what_is_no_metadata_is_refused(ana: Browser, content: bytes) -> None:
    answer = await ana.http.post("/register", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_client_metadata", "invalid_redirect_uri"}


@every
async def test_the_public_internet_reaches_only_what_it_is_to(ana: Browser, path: str) -> None:
    place = PLACES[path]
    method = place.methods.split()[0]
    answer = await ana.http.request(
        method, path, headers={"tailscale-funnel-request": "?1", "content-type": place.reads}
    )
    if place.funnel:
        assert answer.json()["tailseal_reason"] != "Funnel"
    else:
        check(answer, 401, place, "access_denied")


@every
async def test_nothing_is_decided_where_nothing_may_be(provider: Provider, path: str) -> None:
    common = replace(provider.runtime.common, withheld=lambda: "BundleBehind")
    provider.app = app.build(replace(provider.runtime, common=common))
    place = PLACES[path]
    answer = await provider.browser().http.request(
        place.methods.split()[0], path, headers={"content-type": place.reads}
    )
    check(answer, 503, place, "temporarily_unavailable")
    assert answer.headers["retry-after"]


@every
async def test_a_host_that_a_caller_names_is_nowhere_repeated(ana: Browser, path: str) -> None:
    place = PLACES[path]
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil.example"}
    asked = idp.authorization() if "/authorize" in path else {"user_code": "x"}
    for method in place.methods.split():
        body = {"data": asked} if method == "POST" and place.reads == FORM else {"params": asked}
        answer = await ana.http.request(method, path, headers=headers, **body)  # type: ignore[arg-type]
        assert "evil.example" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("path", [path for path, place in PLACES.items() if place.page])
async def test_pages_stand_in_no_frame_and_run_no_script_of_others(ana: Browser, path: str) -> None:
    for params in (idp.authorization(), {}):
        answer = await ana.http.get(path, params=params)
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


XSS = "<script>alert(1)</script>\"'"


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/authorize", {"client_id": XSS, "redirect_uri": XSS, "state": XSS}),
        ("/authorize", idp.authorization(state=XSS, nonce=XSS, login_hint=XSS)),
        ("/device", {"user_code": XSS}),
        ("/logout", {"client_id": XSS, "state": XSS}),
        ("/logout", {"id_token_hint": XSS}),
    ],
)
async def test_what_a_caller_writes_is_never_markup(ana: Browser, path: str, params: dict[str, str]) -> None:
    await ana.tokens()
    answer = await ana.http.get(path, params=params)
    assert "<script>alert" not in answer.text


# ------------------------------------------------------------------------------------- one token taken for another


async def test_an_id_token_is_no_access_token_and_no_refresh_token(ana: Browser) -> None:
    given = await ana.tokens(scope="openid email")
    for token in (given["id_token"], given["refresh_token"], given["access_token"][:-2], "x", f"{given['id_token']}.x"):
        answer = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert answer.json()["error"] == "invalid_token"
    for token in (given["id_token"], given["access_token"]):
        answer = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": token})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        answer = await ana.redeem(token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_an_access_token_comes_in_one_way(ana: Browser) -> None:
    given = await ana.tokens()
    header = {"authorization": f"Bearer {given['access_token']}"}
    both = await ana.http.post("/userinfo", data={"access_token": given["access_token"]}, headers=header)
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")
    by_query = await ana.http.get("/userinfo", params={"access_token": given["access_token"]})
    assert by_query.status_code == 401
    for answer in (
        await ana.http.get("/userinfo", headers=header),
        await ana.http.post("/userinfo", headers=header),
        await ana.http.post("/userinfo", data={"access_token": given["access_token"]}),
    ):
        assert answer.json()["sub"] == "userid:1"


async def test_a_token_for_another_service_is_none_for_userinfo(ana: Browser) -> None:
    given = await ana.tokens(resource=API)
    answer = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    assert answer.status_code == 401


async def test_what_one_client_got_another_cannot_use(ana: Browser) -> None:
    code = await ana.login()
    data = idp.redemption(code)
    stolen = await ana.post("/token", data, "other")
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    given = (await ana.redeem(code)).json()
    data = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    stolen = await ana.post("/token", data, "other")
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    assert (await ana.post("/token", data)).status_code == 200


async def test_a_code_that_is_used_twice_ends_what_came_of_it(ana: Browser) -> None:
    code = await ana.login()
    given = (await ana.redeem(code)).json()
    again = await ana.redeem(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    bearer = {"authorization": f"Bearer {given['access_token']}"}
    assert (await ana.http.get("/userinfo", headers=bearer)).status_code == 401
    data = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    assert (await ana.post("/token", data)).json()["error"] == "invalid_grant"


VERIFIERS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "another": ({}, {"code_verifier": "w" * 43}, "invalid_grant"),
    "none": ({}, {"code_verifier": ""}, "invalid_grant"),
    "too short": ({}, {"code_verifier": "v" * 42}, "invalid_request"),
    "too long": ({}, {"code_verifier": "v" * 129}, "invalid_request"),
    "of other letters": ({}, {"code_verifier": "v" * 42 + "+"}, "invalid_request"),
    "another redirect": ({}, {"redirect_uri": CALLBACK + "/"}, "invalid_grant"),
    "no redirect": ({}, {"redirect_uri": ""}, "invalid_grant"),
}


@pytest.mark.parametrize(("asked", "sent", "error"), VERIFIERS.values(), ids=VERIFIERS)
async def test_a_code_is_for_whom_it_was_asked(
    ana: Browser, asked: dict[str, Any], sent: dict[str, str], error: str
) -> None:
    answer = await ana.redeem(await ana.login(**asked), **sent)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_nobody_takes_the_challenge_out(ana: Browser) -> None:
    asked = {"client_id": "relaxed", "nonce": "n", "code_challenge": None, "code_challenge_method": None}
    code = await ana.login(**asked)
    data = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    downgraded = await ana.post("/token", {**data, "code_verifier": idp.VERIFIER}, "relaxed")
    assert (downgraded.status_code, downgraded.json()["error"]) == (400, "invalid_grant")
    plain = await ana.http.get("/authorize", params=idp.authorization(code_challenge_method="plain"))
    assert idp.parameters(plain)["error"] == "invalid_request"
    absent = await ana.http.get("/authorize", params=idp.authorization(code_challenge_method=None))
    assert idp.parameters(absent)["error"] == "invalid_request"


SMUGGLED = [
    "https://evil.example",
    "https://app.example/cb/",
    "https://app.example/cb?x=1",
    "https://app.example/cb#x",
    "https://app.example:443/cb",
    "https://app.example@evil.example/cb",
    "https://app.example/cb/../other",
    "https://app.example\\@evil.example/cb",
    "//app.example/cb",
    "HTTPS://app.example/cb",
    "https://app.example/c%62",
    " https://app.example/cb",
    "https://app.example/cb\r\nx: y",
    "javascript:alert(1)",
    "",
]


@pytest.mark.parametrize("uri", SMUGGLED)
async def test_nobody_is_sent_where_the_client_did_not_register(ana: Browser, uri: str) -> None:
    for asked in (idp.authorization(redirect_uri=uri), idp.authorization(redirect_uri=uri, response_type="token")):
        answer = await ana.http.get("/authorize", params=asked)
        assert answer.status_code == 400
        assert "location" not in answer.headers
    twice = [("redirect_uri", uri), *idp.authorization().items()]
    answer = await ana.http.get("/authorize", params=twice)
    if uri:
        assert "location" not in answer.headers


async def test_errors_go_back_with_issuer_and_state(ana: Browser, provider: Provider) -> None:
    answer = await ana.http.get("/authorize", params=idp.authorization(response_type="id_token"))
    sent = idp.parameters(answer)
    assert (sent["error"], sent["state"], sent["iss"]) == ("unsupported_response_type", "s1", provider.issuer)


async def test_headers_of_ours_cannot_be_split(ana: Browser) -> None:
    answer = await ana.http.get("/authorize", params=idp.authorization(state="a\r\nset-cookie: x=y", prompt="none"))
    assert "set-cookie" not in answer.headers
    assert "%0D%0A" in answer.headers["location"]


async def test_two_authorization_headers_are_none(ana: Browser) -> None:
    given = await ana.tokens()
    bearer = f"Bearer {given['access_token']}"
    answer = await ana.http.get("/userinfo", headers=[("authorization", bearer), ("authorization", bearer)])
    assert answer.status_code == 401


async def test_a_token_by_another_key_is_nobodys(ana: Browser) -> None:
    given = await ana.tokens()
    head, body, _ = given["access_token"].split(".")
    forged = f"{head}.{body}.{compact.encode(bytes(64)).decode()}"
    answer = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {forged}"})
    assert answer.status_code == 401


async def test_a_hint_about_somebody_else_logs_nobody_in(ana: Browser, provider: Provider) -> None:
    mine = (await ana.tokens())["id_token"]
    theirs = (await provider.browser("bob").tokens())["id_token"]
    silent = await ana.http.get("/authorize", params=idp.authorization(id_token_hint=mine, prompt="none"))
    assert "code" in idp.parameters(silent)
    for prompt in ("none", None):
        other = await ana.http.get("/authorize", params=idp.authorization(id_token_hint=theirs, prompt=prompt))
        assert idp.parameters(other)["error"] == "login_required"
    nonsense = await ana.http.get("/authorize", params=idp.authorization(id_token_hint="x.y.z"))
    assert idp.parameters(nonsense)["error"] == "invalid_request"
