"""A person logs in to a Python application, against the program itself; who may be made up is kept to this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from joserfc import jwt
from joserfc.jwk import KeySet
from requests_oauthlib import OAuth2Session  # type: ignore[import-untyped]

from fakes import idp, served
from tailseal.workers.embedded import callers, manifests
from tailseal.workers.embedded.callers import CallersError
from tailseal.workers.embedded.household import Reader
from tailseal_dev.process import start
from tailseal_dev.quickstart import __main__ as story

REDIRECT = "https://app.example/cb"
SCOPES = ["openid", "email", "groups"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:requests_oauthlib")
def test_requests_oauthlib_logs_a_person_in_and_stays_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # the provider is on this machine
    base = served.base_url()
    objects = [*served.provider(base), *served.client("web", redirectURIs=[REDIRECT], scopes=SCOPES)]
    with served.serving(tmp_path, base, objects) as log:
        document = httpx.get(f"{base}/.well-known/openid-configuration").json()
        session = OAuth2Session("web", redirect_uri=REDIRECT, scope=SCOPES, pkce="S256")
        url, _ = session.authorization_url(document["authorization_endpoint"], nonce="n")
        token = session.fetch_token(
            document["token_endpoint"],
            authorization_response=_clicked(url),
            client_secret=served.SECRET,
        )
        keys = KeySet.import_key_set(httpx.get(document["jwks_uri"]).json())
        claims = jwt.decode(token["id_token"], keys, algorithms=["RS256"]).claims
        assert (claims["iss"], claims["aud"], claims["nonce"]) == (base, "web", "n")
        told = session.get(document["userinfo_endpoint"]).json()
        assert told == {"sub": "userid:1", "email": "ana@corp.example", "email_verified": True}
        again = session.refresh_token(document["token_endpoint"], auth=("web", served.SECRET))
        assert again["refresh_token"] != token["refresh_token"]
        assert session.get(document["userinfo_endpoint"]).json() == told
        written = log.read_text()
    assert not [token[name] for name in ("access_token", "id_token", "refresh_token") if token[name] in written]


@contextmanager
def killed(folder: Path, base: str) -> Iterator[httpx.Client]:
    """The program until it is killed without notice."""
    argv = [served.PROGRAM, "serve", str(folder / "served"), "--state", str(folder / "state")]
    process = start([*argv, "--callers", str(folder / "callers.yaml")], folder / "log")
    try:
        served.until_ready(base, process, folder / "log")
        with httpx.Client(base_url=base) as browser:
            yield browser
    finally:
        process.kill()
        process.wait()


def test_no_kill_loses_a_login_or_lets_a_code_count_twice(tmp_path: Path) -> None:
    base, client = served.base_url(), ("web", served.SECRET)
    place = tmp_path / "served"
    place.mkdir()
    objects = [*served.provider(base), *served.client("web", redirectURIs=[REDIRECT])]
    (place / "all.yaml").write_text(yaml.safe_dump_all(objects))
    (tmp_path / "callers.yaml").write_text(yaml.safe_dump(served.CALLERS))
    asked = idp.authorization(client_id="web", redirect_uri=REDIRECT)
    with killed(tmp_path, base) as browser:
        action, fields = idp.form(browser.get("/authorize", params=asked))
        sent = browser.post(action, data=fields | {"answer": "yes"})
        cookies, code = browser.cookies, idp.parameters(sent)["code"]
    redemption = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    redemption |= {"code_verifier": idp.VERIFIER}
    with killed(tmp_path, base) as browser:
        given = browser.post("/token", data=redemption, auth=client).json()
    refreshing = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    with killed(tmp_path, base) as browser:
        second = browser.post("/token", data=refreshing, auth=client).json()
        assert "access_token" in second
        browser.cookies = cookies
        assert "code" in idp.parameters(browser.get("/authorize", params=asked | {"prompt": "none"}))
    with killed(tmp_path, base) as browser:
        for replayed in (redemption, refreshing):
            assert browser.post("/token", data=replayed, auth=client).json()["error"] == "invalid_grant"
        refreshing |= {"refresh_token": second["refresh_token"]}
        assert browser.post("/token", data=refreshing, auth=client).json()["error"] == "invalid_grant"


def _clicked(url: str) -> str:
    """Where a browser ends up."""
    with httpx.Client() as browser:
        action, fields = idp.form(browser.get(url))
        return browser.post(action, data=fields | {"answer": "yes"}).headers["location"]


def test_made_up_callers_stay_on_this_machine(tmp_path: Path) -> None:
    table = tmp_path / "callers.yaml"
    table.write_text("- login: ana@corp.example\n")
    result = _serve(tmp_path, "--callers", str(table), "--listen", "[::ffff:192.0.2.1]:8080")
    assert result.returncode == 2
    assert "need listeners on loopback alone" in result.stderr


def test_a_table_that_says_nothing_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    table = tmp_path / "callers.yaml"
    table.write_text("ana@corp.example\n")
    result = _serve(tmp_path, "--callers", str(table))
    assert result.returncode == 2
    assert "must be a list of at least one caller" in result.stderr


def _serve(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    place = folder / "served"
    place.mkdir()
    (place / "all.yaml").write_text(yaml.safe_dump_all(served.provider(served.base_url())))
    argv = [served.PROGRAM, "serve", str(place), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "at least one"),
        ("- {}", "exactly one of login"),
        ("- {login: a@b.c, tags: ['tag:x']}", "exactly one of login"),
        ("- {login: 1}", r"\[0\].login: must be a text"),
        ("- {login: a@b.c, email: a@b.c}", "must be an object of"),
        ("- {login: a@b.c, address: nowhere}", r"\[0\].address"),
        ("- {login: a@b.c, groups: sre}", r"\[0\].groups"),
        ("- {login: a@b.c, capabilities: {x: 1}}", r"\[0\].capabilities"),
        ("- {login: a@b.c, node: pc}\n- {login: d@b.c, node: pc}", "node npc belongs to more than one"),
        ("- {login: a@b.c, address: 100.64.0.2}\n- {login: d@b.c}", "address 100.64.0.2 belongs to more than one"),
        ("a: b: c", "not YAML"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "callers.yaml"
    file.write_text(text)
    with pytest.raises(CallersError, match=problem):
        callers.read(file)


def test_a_login_is_all_that_a_person_needs(tmp_path: Path) -> None:
    file = tmp_path / "callers.yaml"
    file.write_text("- login: ana@corp.example\n  capabilities: [{v: 1}]\n- tags: ['tag:ci']\n")
    person, machine = callers.read(file)
    expected: Any = ("userid:1", "ana@corp.example", "ana-1.tailnet.example", ({"v": 1},))
    assert person.user
    found = (person.subject, person.user.login, person.node.name, person.capabilities["tailseal.dev/cap/idp"])
    assert found == expected
    assert (machine.subject, machine.user, machine.node.tags) == ("node:nmachine-2", None, ("tag:ci",))


def test_the_example_has_nothing_wrong_with_it() -> None:
    household = Reader().read(manifests.read(story.EXAMPLE.parent / "login"))
    assert household.problems == ()
    assert [client.name for client in household.clients.usable] == ["app"]
    assert len(callers.read(story.EXAMPLE.parent / "callers.yaml")) == 3
