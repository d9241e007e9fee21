"""People log in to a real kube-apiserver with their ID tokens, as kubectl runs our plugin for them."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner

from fakes import served, tlsfront
from fakes.idp import form
from tailseal.cli.credential.callback import Callback
from tailseal.cli.credential.person import Person, _entry
from tailseal.cli.errors import Failure
from tailseal.cli.main import cli
from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.ports import free_ports

CLUSTER = "k8s-prod"
CLIENT_ID = "oauthclient.default.kubectl"
SOURCES = Path(__file__).parents[2] / "operator"
CALLERS: list[dict[str, Any]] = [{"login": "ana@corp.example", "groups": ["sre"]}, {"login": "bob@corp.example"}]
CLIENT: dict[str, Any] = {
    "clientID": None,
    "type": "Public",
    "redirectURIs": ["http://127.0.0.1/callback"],
    "grantTypes": ["authorization_code", "refresh_token", served.DEVICE],
    "scopes": ["openid", "groups", "offline_access"],
}
RIGHTS = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: sre}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "tailseal:sre"}]
"""
# What a person does whose browser opens: who it is, and which button, are in the environment.
BROWSER = """\
import os, ssl, sys
sys.path[:0] = os.environ["SOURCES"].split(":")
import httpx
from fakes.idp import form
person = {"x-forwarded-for": os.environ["WHO"]}
trusted = ssl.create_default_context(cafile=os.environ["CA"])
with httpx.Client(verify=trusted, headers=person, trust_env=False, timeout=60) as browser:
    answer = browser.get(sys.argv[1])
    if answer.status_code == 200:
        action, fields = form(answer)
        answer = browser.post(action, data=fields | {"answer": os.environ["ANSWER"]})
    httpx.get(answer.headers["location"], trust_env=False, timeout=60)
"""


@dataclass(frozen=True)
class World:
    """An issuer over https, and a home directory."""

    issuer: str
    authority: Path
    home: Path

    def arguments(self, *more: str) -> list[str]:
        where = ["--issuer", self.issuer, "--client-id", CLIENT_ID, "--certificate-authority", str(self.authority)]
        return ["-m", "tailseal", "kubectl-credential", *where, *more]

    def environment(self, who: str, answer: str = "yes") -> dict[str, str]:
        (self.home / "browser.py").write_text(BROWSER)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(SOURCES),
            "BROWSER": f"{sys.executable} {self.home / 'browser.py'} %s",
            "SOURCES": os.pathsep.join(sys.path),
            "CA": str(self.authority),
            "WHO": who,
            "ANSWER": answer,
        }

    def plugin(self, *more: str, who: str = "100.64.0.1", answer: str = "yes") -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, *self.arguments(*more)]
        return subprocess.run(
            argv, env=self.environment(who, answer), capture_output=True, text=True, check=False, timeout=120
        )

    def browser(self) -> httpx.Client:
        return httpx.Client(
            verify=ssl.create_default_context(cafile=self.authority), trust_env=False, base_url=self.issuer
        )

    @property
    def kept(self) -> Path:
        (found,) = (
            each for each in (self.home / ".cache/tailseal/kubectl").iterdir() if re.fullmatch("[0-9a-f]+", each.name)
        )
        return found

    def age(self) -> None:
        """As if the ID token had expired."""
        self.kept.write_text(json.dumps(json.loads(self.kept.read_text()) | {"expires_at": time.time() + 59}))


@contextmanager
def providing(folder: Path) -> Iterator[tuple[str, Path]]:
    front, back = free_ports(2)
    issuer = f"https://127.0.0.1:{front}"
    objects = [*served.provider(issuer), *served.client("kubectl", **CLIENT)]
    listen = ("--listen", f"127.0.0.1:{back}")
    with (
        served.serving(folder, f"http://127.0.0.1:{back}", objects, *listen, callers_are=CALLERS),
        tlsfront.running(folder, front, back) as authority,
    ):
        yield issuer, authority


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with providing(tmp_path_factory.mktemp("people")) as found:
        yield found


@pytest.fixture
def world(provider: tuple[str, Path], tmp_path: Path) -> World:
    return World(*provider, tmp_path)


@pytest.fixture(scope="module")
def plane(provider: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server that was started with what our command prints."""
    folder = tmp_path_factory.mktemp("plane")
    issuer, authority = provider
    (folder / "all.yaml").write_text(yaml.safe_dump_all(served.provider(issuer)))
    arguments = [
        "kube",
        "authentication-config",
        "-f",
        str(folder / "all.yaml"),
        "--audience",
        CLUSTER,
        "--audience",
        CLIENT_ID,
    ]
    made = CliRunner().invoke(cli, [*arguments, "--certificate-authority", str(authority)])
    assert made.exit_code == 0, made.output
    (folder / "authn.yaml").write_text(made.stdout)
    with ControlPlane(folder / "cluster", (f"--authentication-config={folder / 'authn.yaml'}",)) as found:
        found.kubectl("apply", "-f", "-", stdin=RIGHTS)
        yield found


def kubectl(plane: ControlPlane, world: World, *arguments: str, who: str = "100.64.0.1") -> tuple[int, str, str]:
    config = yaml.safe_load(plane.kubeconfig.read_text())
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": world.arguments()}
    config["users"] = [{"name": "dev", "user": {"exec": run | {"interactiveMode": "IfAvailable"}}}]
    (world.home / "kubeconfig").write_text(yaml.safe_dump(config))
    argv = [str(plane.programs / "kubectl"), f"--kubeconfig={world.home / 'kubeconfig'}", *arguments]
    result = subprocess.run(argv, env=world.environment(who), capture_output=True, text=True, check=False, timeout=120)
    return result.returncode, result.stdout, result.stderr


def whoami(plane: ControlPlane, world: World, who: str = "100.64.0.1") -> dict[str, Any]:
    code, printed, said = kubectl(plane, world, "auth", "whoami", "-o", "json", who=who)
    assert code == 0, said
    found: dict[str, Any] = json.loads(printed)["status"]["userInfo"]
    return found


@pytest.mark.cluster
def test_a_person_logs_in_with_kubectl_and_their_groups_give_them_rights(plane: ControlPlane, world: World) -> None:
    who = whoami(plane, world)
    assert who["username"] == "tailseal:userid:1"
    assert set(who["groups"]) == {"tailseal:sre", "system:authenticated"}
    assert who["extra"]["tailseal.dev/policy"] == [CLIENT_ID]
    code, printed, said = kubectl(plane, world, "get", "configmaps", "-A", "-o", "name")
    assert (code, "kube-root-ca.crt" in printed) == (0, True), said
    assert "cannot create" in kubectl(plane, world, "create", "namespace", "mine")[2]


@pytest.mark.cluster
def test_a_person_without_the_group_may_log_in_and_nothing_else(plane: ControlPlane, world: World) -> None:
    who = whoami(plane, world, "100.64.0.2")
    assert (who["username"], who["groups"]) == ("tailseal:userid:2", ["system:authenticated"])
    assert "cannot list" in kubectl(plane, world, "get", "configmaps", "-A", who="100.64.0.2")[2]


@pytest.mark.cluster
def test_a_login_goes_on_by_itself_until_its_person_takes_it_back(plane: ControlPlane, world: World) -> None:
    assert whoami(plane, world)["username"] == "tailseal:userid:1"
    first = json.loads(world.kept.read_text())
    world.age()
    code, _, said = kubectl(plane, world, "auth", "whoami")
    assert (code, "browser" in said) == (0, False), said
    second = json.loads(world.kept.read_text())
    assert second["token"] != first["token"]
    assert second["refresh"] != first["refresh"]
    _take_back(world)
    world.age()
    refused = world.plugin(answer="no")
    assert refused.returncode == 1
    assert "The login has ended" in refused.stderr
    assert "the person did not agree" in refused.stderr
    assert not refused.stdout


def _take_back(world: World) -> None:
    with world.browser() as browser:
        while True:
            page = browser.get("/")
            if not (families := re.findall(r'name="family" value="([0-9a-f]{32})"', page.text)):
                return
            _, fields = form(page)
            browser.post("/access/end", data=fields | {"family": families[0]})


def test_whoever_has_no_browser_there_compares_a_code(world: World) -> None:
    with world.browser() as browser:

        def approve(url: str) -> None:
            _, fields = form(browser.get(url))
            _, fields = form(browser.post("/device", data=fields))
            assert "is connected" in browser.post("/device", data=fields | {"answer": "yes"}).text

        argv = [sys.executable, *world.arguments("--device")]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(argv, env=world.environment(""), **pipes) as run:
            assert run.stderr is not None
            said = run.stderr.readline()
            found = re.fullmatch(r"Open (\S+) and compare the code: (\S+)\n", said)
            assert found, said
            assert found[2] in found[1]
            approve(found[1])
            printed, _ = run.communicate(timeout=120)
    assert json.loads(printed)["kind"] == "ExecCredential"
    assert world.plugin().stdout == printed


def test_several_kubectl_at_once_use_a_refresh_token_once(world: World) -> None:
    assert world.plugin().returncode == 0
    world.age()
    found: list[subprocess.CompletedProcess[str]] = []
    crowd = [threading.Thread(target=lambda: found.append(world.plugin(answer="no"))) for _ in range(4)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    assert [each.returncode for each in found] == [0] * 4, [each.stderr for each in found]
    assert len({each.stdout for each in found}) == 1


def test_logging_out_ends_the_login_here_and_there(world: World) -> None:
    assert world.plugin().returncode == 0
    kept = json.loads(world.kept.read_text())
    assert (world.kept.stat().st_mode & 0o777, world.plugin("--logout").returncode) == (0o600, 0)
    assert "nobody is logged in" in world.plugin("--logout").stderr
    fields = {"grant_type": "refresh_token", "refresh_token": kept["refresh"], "client_id": CLIENT_ID}
    with world.browser() as browser:
        assert browser.post("/token", data=fields).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--issuer", "https://a.example"], 2, "who logs in, a person or a job?"),
        (["--issuer", "https://a.example", "--client-id", "a", "--audience", "b"], 2, "who logs in"),
        (["--audience", "b"], 2, "where is the token service?"),
        (["--issuer", "http://a.example", "--client-id", "a"], 2, "--issuer: "),
        (["--issuer", "https://127.0.0.1:1", "--client-id", "a"], 3, "--issuer: "),
    ],
)
def test_whatever_is_wrong_is_said_in_a_sentence(tmp_path: Path, options: list[str], code: int, said: str) -> None:
    made = CliRunner().invoke(cli, ["kubectl-credential", *options], env={"HOME": str(tmp_path)})
    assert (made.exit_code, said in made.output) == (code, True), made.output


def test_another_issuer_than_the_one_that_was_named_logs_nobody_in(world: World) -> None:
    made = World(f"{world.issuer}/", world.authority, world.home).plugin()
    assert (made.returncode, "there is no provider at" in made.stderr) == (1, True), made.stderr


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://idp.example"},
        {"issuer": "https://idp.example", "authorization_endpoint": "file:///etc/passwd"},
        {"issuer": "https://idp.example", "authorization_endpoint": "--help"},
        {"issuer": "https://other.example", "authorization_endpoint": "https://idp.example/authorize"},
    ],
)
def test_a_browser_is_sent_to_no_place_that_is_not_the_providers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, document: dict[str, Any]
) -> None:
    monkeypatch.setattr("tailseal.cli.credential.exchange.ask", lambda *_: (200, document))
    monkeypatch.setattr("tailseal.cli.credential.person._open", lambda _: pytest.fail("a browser was opened"))
    options = ["--issuer", "https://idp.example", "--client-id", "a"]
    made = CliRunner().invoke(cli, ["kubectl-credential", *options], env={"HOME": str(tmp_path)})
    assert (made.exit_code, "there is no provider at" in made.output) == (1, True), made.output


@pytest.mark.parametrize(
    ("claims", "right"),
    [
        ({}, True),
        ({"aud": ["kubectl"]}, True),
        ({"iss": "https://other.example"}, False),
        ({"aud": "other"}, False),
        ({"aud": ["kubectl", "other"]}, False),
        ({"nonce": "another"}, False),
        ({"exp": "soon"}, False),
    ],
)
def test_an_id_token_of_another_login_is_none(claims: dict[str, Any], *, right: bool) -> None:
    person = Person("https://idp.example", "kubectl")
    told = {"iss": person.issuer, "aud": "kubectl", "nonce": "n", "exp": 2_000_000_000} | claims
    payload = base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()
    answer = {"id_token": f"e30.{payload}.c2ln", "refresh_token": "r"}
    if right:
        assert _entry(person, 200, answer, nonce="n")[1:3] == (2_000_000_000, "r")
    else:
        with pytest.raises(Failure, match="no ID token for this login"):
            _entry(person, 200, answer, nonce="n")


def test_only_the_browser_that_was_sent_brings_the_code() -> None:
    with Callback("state", "https://idp.example") as callback, ThreadPoolExecutor() as pool:
        code = pool.submit(callback.code, 120.0)
        for query in ("?code=x", "?code=x&state=other&iss=https://idp.example", "?code=x&state=state", ""):
            assert httpx.get(callback.uri + query).status_code == 404
        assert httpx.get(callback.uri.replace("callback", "favicon.ico")).status_code == 404
        answer = httpx.get(callback.uri, params={"code": "right", "state": "state", "iss": "https://idp.example"})
        assert (answer.status_code, "right" in answer.text, code.result()) == (200, False, "right")


def test_whoever_never_comes_back_is_not_waited_for() -> None:
    with Callback("state", "https://idp.example") as callback, pytest.raises(Failure, match="nobody has logged in"):
        callback.code(0.1)
