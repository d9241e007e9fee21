"""Our tokens log in to a real kube-apiserver, by the configuration and the credential plugin that we hand out."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fakes import exchange
from fakes.kubectl import AUDIENCE, PROVIDER, SOURCES, Login, token_service
from tailseal.cli.credential.cache import Cache, Entry
from tailseal.cli.main import cli
from tailseal_dev.controlplane import ControlPlane

RIGHTS = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: deployers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "tailseal:deployers"}]
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """A token service: its issuer, who vouches for it, and a folder."""
    folder = tmp_path_factory.mktemp("login")
    with token_service(folder) as (issuer, authority):
        yield issuer, authority, folder


@pytest.fixture(scope="module")
def login(served: tuple[str, Path, Path]) -> Iterator[Login]:
    """An API server that was started with the file that our command prints: with a wrong one it does not start."""
    issuer, authority, folder = served
    (folder / "provider.yaml").write_text(PROVIDER.format(issuer=issuer))
    arguments = ["kube", "authentication-config", "-f", str(folder / "provider.yaml"), "--audience", AUDIENCE]
    made = CliRunner().invoke(cli, [*arguments, "--certificate-authority", str(authority), "--max-lifetime", "30m"])
    assert made.exit_code == 0, made.output
    (folder / "authn.yaml").write_text(made.stdout)
    with ControlPlane(folder / "cluster", (f"--authentication-config={folder / 'authn.yaml'}",)) as plane:
        plane.kubectl("apply", "-f", "-", stdin=RIGHTS)
        yield Login(plane, f"{issuer}/token", authority, folder)


@pytest.fixture
def client(served: tuple[str, Path, Path], tmp_path: Path) -> Login:
    """The plugin by itself, with a home of its own."""
    issuer, authority, _ = served
    return Login(None, f"{issuer}/token", authority, tmp_path)  # type: ignore[arg-type]


@pytest.mark.cluster
def test_a_job_logs_in_with_kubectl_and_its_group_gives_it_rights(login: Login) -> None:
    plugin = ("--subject-token-file", str(login.job()))
    who = login.whoami(*plugin)
    assert who["username"] == "tailseal:policy:identity/deployers"
    assert set(who["groups"]) == {"tailseal:deployers", "system:authenticated"}
    assert who["extra"]["tailseal.dev/policy"] == ["policy:identity/deployers"]
    assert who["extra"]["tailseal.dev/scope"] == ["deploy"]
    assert len(who["extra"]["tailseal.dev/jti"][0]) == 32
    assert "tailseal.dev/actor" not in who["extra"]
    code, printed, said = login.kubectl("get", "configmaps", "-A", "-o", "name", plugin=plugin)
    assert (code, "kube-root-ca.crt" in printed) == (0, True), said
    assert "cannot create" in login.kubectl("create", "namespace", "mine", plugin=plugin)[2]


@pytest.mark.cluster
def test_whoever_has_no_group_may_log_in_and_nothing_else(login: Login) -> None:
    plugin = ("--subject-token-file", str(login.job("66")))
    who = login.whoami(*plugin)
    assert (who["username"], who["groups"]) == ("tailseal:policy:identity/strangers", ["system:authenticated"])
    assert "cannot list" in login.kubectl("get", "configmaps", "-A", plugin=plugin)[2]


@pytest.mark.cluster
def test_a_group_is_what_the_policys_expression_gives(login: Login) -> None:
    path = login.job(event_name="workflow_dispatch")
    assert "tailseal:readers" in login.whoami("--subject-token-file", str(path))["groups"]


@pytest.mark.cluster
def test_a_token_that_lives_too_long_logs_nobody_in(login: Login) -> None:
    code, _, said = login.kubectl("auth", "whoami", plugin=("--subject-token-file", str(login.job("68"))))
    assert code == 1
    assert "Unauthorized" in said or "logged in" in said


@pytest.mark.cluster
def test_what_kubectl_says_of_a_refusal_names_the_reason(login: Login) -> None:
    code, _, said = login.kubectl("auth", "whoami", plugin=("--subject-token-file", str(login.job("99"))))
    assert code == 1
    assert "error: the token service refuses: " in said
    assert "(NoPolicyMatches)" in said
    assert "can explain decision " in said


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("claims", "groups"),
    [
        ({"groups": ["a", "b"]}, {"tailseal:a", "tailseal:b"}),
        ({"groups": "a"}, {"tailseal:a"}),
        ({"groups": []}, set()),
        ({"groups": ["masters"], "act": {"sub": "ci"}}, {"tailseal:masters"}),
        ({}, set()),
    ],
)
def test_groups_are_taken_as_a_text_or_as_a_list(login: Login, claims: dict[str, Any], groups: set[str]) -> None:
    code, who = _as(login, **claims)
    assert code == 0
    assert set(who["groups"]) - {"system:authenticated"} == groups
    assert who["extra"].get("tailseal.dev/actor") == (["ci"] if "act" in claims else None)


@pytest.mark.cluster
@pytest.mark.parametrize(
    "claims",
    [
        {"cnf": {"jkt": "x"}},
        {"aud": "another"},
        {"groups": [1]},
        {"groups": {"a": 1}},
        {"exp": int(time.time()) + 90_000},
        {"iss": "https://another.example"},
    ],
)
def test_other_tokens_of_ours_log_nobody_in(login: Login, claims: dict[str, Any]) -> None:
    assert _as(login, **claims)[0] == 1


@pytest.mark.cluster
def test_the_cluster_can_be_asked_for_the_provider(login: Login) -> None:
    login.plane.kubectl("apply", "--server-side", "-k", str(SOURCES.parent / "crds"))
    login.plane.await_crds()
    login.plane.kubectl("create", "namespace", "identity")
    login.plane.kubectl("apply", "-f", str(login.folder / "provider.yaml"))
    where = ["--kubeconfig", str(login.plane.kubeconfig), "--certificate-authority", str(login.authority)]
    arguments = ["kube", "authentication-config", "corp", "--audience", AUDIENCE, "--max-lifetime", "30m", *where]
    made = CliRunner().invoke(cli, arguments)
    assert (made.exit_code, made.stdout) == (0, (login.folder / "authn.yaml").read_text())


def _as(login: Login, **claims: object) -> tuple[int, dict[str, Any]]:
    """Who the API server says is the bearer of a token that our key signed."""
    now = int(time.time())
    content = {"iss": login.endpoint.removesuffix("/token"), "aud": AUDIENCE, "sub": "policy:a/b", "jti": "j"}
    content |= {"iat": now, "exp": now + 300} | claims
    key = exchange.ec_key("k1")
    signed = exchange.token(content, {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}, key, "ES256")
    config = login.plane.kubeconfig_with_token("bearer", signed)
    argv = [str(login.plane.programs / "kubectl"), f"--kubeconfig={config}", "auth", "whoami", "-o", "json"]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    return result.returncode, json.loads(result.stdout)["status"]["userInfo"] if result.stdout else {}


def test_the_token_is_kept_for_the_user_alone_until_a_minute_before_it_expires(client: Login) -> None:
    path = client.job()
    first = client.plugin("--subject-token-file", str(path))
    assert first.returncode == 0, first.stderr
    credential = json.loads(first.stdout)
    assert (credential["apiVersion"], credential["kind"]) == ("client.authentication.k8s.io/v1", "ExecCredential")
    (kept,) = (client.folder / ".cache" / "tailseal" / "kubectl").iterdir()
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert client.plugin("--subject-token-file", str(path)).stdout == first.stdout
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"expires_at": time.time() + 59}))
    assert client.plugin("--subject-token-file", str(path)).stdout != first.stdout


def test_what_somebody_else_can_read_is_not_taken_from_the_cache(client: Login) -> None:
    path = client.job()
    first = client.plugin("--subject-token-file", str(path))
    (kept,) = (client.folder / ".cache" / "tailseal" / "kubectl").iterdir()
    kept.chmod(0o644)
    again = client.plugin("--subject-token-file", str(path))
    assert (again.returncode, again.stdout == first.stdout) == (0, False)
    assert kept.stat().st_mode & 0o777 == 0o600


def test_nobody_is_given_the_token_of_another_subject_or_of_another_request(client: Login) -> None:
    mine = client.plugin("--subject-token-env", "TOKEN", TOKEN=client.job().read_text()).stdout
    other = client.plugin("--subject-token-env", "TOKEN", TOKEN=client.job("66").read_text()).stdout
    scoped = client.plugin("--subject-token-env", "TOKEN", "--scope", "deploy", TOKEN=client.job().read_text()).stdout
    assert len({mine, other, scoped}) == 3


def test_jobs_on_one_machine_do_not_share_what_the_same_command_gave(client: Login) -> None:
    line = ("--subject-token-command", f"cat {shlex.quote(str(client.job()))}")
    one = client.plugin(*line, CI_JOB_ID="1").stdout
    assert client.plugin(*line, CI_JOB_ID="1").stdout == one
    assert client.plugin(*line, CI_JOB_ID="2").stdout != one


def test_a_token_that_lives_no_minute_is_not_kept(client: Login) -> None:
    assert client.plugin("--subject-token-file", str(client.job("67"))).returncode == 0
    assert not (client.folder / ".cache").exists()


def test_without_a_place_for_it_the_token_is_given_and_a_warning(client: Login) -> None:
    (client.folder / "file").touch()
    done = client.plugin("--subject-token-file", str(client.job()), XDG_CACHE_HOME=str(client.folder / "file"))
    assert (done.returncode, done.stderr.startswith("warning: the token is not kept: ")) == (0, True)


@pytest.mark.parametrize("how", ["writable", "a link"])
def test_a_folder_in_which_others_can_swap_tokens_keeps_none(tmp_path: Path, how: str) -> None:
    cache = Cache.of({"HOME": str(tmp_path)})
    assert cache.folder is not None
    assert cache.put("a", Entry("token", 2e9), 1e9) == ""
    if how == "writable":
        cache.folder.chmod(0o777)
    else:
        cache.folder.rename(tmp_path / "elsewhere")
        cache.folder.symlink_to(tmp_path / "elsewhere")
    assert cache.get("a") is None
    assert "others" in cache.put("b", Entry("token", 2e9), 1e9)


def test_a_name_that_never_answers_holds_up_nobody(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    os.mkfifo(tmp_path / "a", 0o600)
    tmp_path.chmod(0o700)
    assert cache.get("a") is None


@pytest.mark.parametrize("lasts", [0, True, "60", 10**12, pytest.param(10**400, id="endless")])
def test_a_lifetime_that_is_none_is_no_answer_of_a_token_service(
    monkeypatch: pytest.MonkeyPatch, lasts: object
) -> None:
    answer = {"access_token": "t", "token_type": "Bearer", "expires_in": lasts}
    monkeypatch.setattr("tailseal.cli.credential.exchange.post", lambda *_: answer)
    place = ["--token-endpoint", "https://sts.example/token", "--audience", "a", "--subject-token-env", "A"]
    found = CliRunner().invoke(cli, ["kubectl-credential", *place], env={"A": "token", "KUBERNETES_EXEC_INFO": ""})
    assert (found.exit_code, "something that is no token" in found.output) == (3, True), found.output


def test_what_has_expired_is_swept_away(client: Login) -> None:
    old = client.folder / ".cache" / "tailseal" / "kubectl" / "old"
    old.parent.mkdir(parents=True)
    old.write_text(json.dumps({"token": "x", "expires_at": time.time() - 1}))
    old.chmod(0o600)
    assert client.plugin("--subject-token-file", str(client.job())).returncode == 0
    assert not old.exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        ([], {}, 2, "where is the subject token?"),
        (["--subject-token-env", "A", "--subject-token-file", "b"], {}, 2, "exactly one of"),
        (["--subject-token-env", "A"], {}, 1, "variable A is empty"),
        (["--subject-token-env", "A"], {"A": "two words"}, 1, "variable A is no token"),
        (["--subject-token-file", "/nowhere"], {}, 3, "--subject-token-file /nowhere: No such file"),
        (["--subject-token-command", "false"], {}, 3, "ended with exit code 1"),
        (["--subject-token-command", "/nowhere"], {}, 3, "cannot be run: No such file"),
        (["--subject-token-command", "'"], {}, 2, "its quotes are not closed"),
        (["--subject-token-command", " "], {}, 3, "cannot be run: it is empty"),
        (["--subject-token-env", "A"], {"A": "a.b.c"}, 1, "the token service refuses: "),
        (["--subject-token-env", "A", "--token-endpoint", "http://example.com"], {"A": "x"}, 2, "https is needed"),
        (["--subject-token-env", "A", "--token-endpoint", "https://127.0.0.1:1"], {"A": "x"}, 3, "--token-endpoint: "),
        (
            ["--subject-token-env", "A"],
            {"A": "x", "KUBERNETES_EXEC_INFO": '{"apiVersion": "v1beta1"}'},
            2,
            "under `exec`",
        ),
        (["--subject-token-env", "A"], {"A": "x", "KUBERNETES_EXEC_INFO": "[]"}, 2, "another version"),
    ],
)
def test_whatever_is_wrong_is_said_in_a_sentence(
    client: Login, arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    done = client.plugin(*arguments, **environment)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_grant_that_needs_a_proof_is_none_for_kubectl(client: Login) -> None:
    done = client.plugin("--subject-token-file", str(client.job("69")))
    assert (done.returncode, "(ProofMissing)" in done.stderr) == (1, True), done.stderr
