"""`tailseal status` and `whoami`: everything on one screen, and who one is, by table and by the fake cluster."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fakes.cluster import FakeCluster
from fakes.provider import NS, provider, signing_key, world
from fakes.world import World
from tailseal.cli import cluster as asked
from tailseal.cli.main import cli
from tailseal.cli.status.found import line
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, Transient
from tailseal.cluster.port import Kind


def run(monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster, *arguments: str) -> Result:
    monkeypatch.setattr(asked, "connect", lambda *_: contextlib.nullcontext(cluster))
    return CliRunner().invoke(cli, arguments)


async def _converged() -> World:
    seen = world(signing_key(), provider())
    await seen.converge()
    await seen.run_for(60)
    return seen


@pytest.fixture
def seen() -> World:
    return asyncio.run(_converged())


def test_all_is_on_one_screen_and_all_ready(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    result = run(monkeypatch, seen.cluster, "status")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["KIND", "NAMESPACE", "NAME", "READY", "REASON", "WAITS", "FOR"]
    assert lines[1].split() == ["IdentityProvider", NS, "corp", "True", "Ready", "-"]
    assert lines[2].split() == ["SigningKey", NS, "corp", "True", "Ready", "-"]
    assert lines[-1] == "2 objects, all ready"


def test_what_nobody_has_looked_at_waits_for_the_operator_and_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, world(signing_key()).cluster, "status", "-n", NS)
    assert result.exit_code == 1
    assert "Unknown  -       the operator, which has not looked at it yet" in result.stdout
    assert result.stdout.endswith("1 object, 1 not ready\n")


def test_the_forms_say_the_same(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    asjson = json.loads(run(monkeypatch, seen.cluster, "status", "-o", "json").stdout)
    assert asjson == yaml.safe_load(run(monkeypatch, seen.cluster, "status", "-o", "yaml").stdout)
    assert (asjson["apiVersion"], asjson["kind"], asjson["ready"]) == ("cli.tailseal.dev/v1alpha1", "Status", True)
    assert {item["kind"] for item in asjson["items"]} == {"IdentityProvider", "SigningKey"}
    names = run(monkeypatch, seen.cluster, "status", "-o", "name").stdout.split()
    assert names == ["identityprovider.tailseal.dev/corp", "signingkey.tailseal.dev/corp"]


def test_a_kind_that_may_not_be_listed_is_named_and_the_rest_is_shown(
    monkeypatch: pytest.MonkeyPatch, seen: World
) -> None:
    listed = seen.cluster.list

    def limited(kind: Kind, namespace: str = "", **selectors: str) -> Any:  # noqa: ANN401
        if kind == kinds.SIGNING_KEY:
            raise Forbidden("signingkeys.tailseal.dev is forbidden")
        return listed(kind, namespace, **selectors)

    monkeypatch.setattr(seen.cluster, "list", limited)
    result = run(monkeypatch, seen.cluster, "status")
    assert "IdentityProvider" in result.stdout
    assert "warning: signingkeys.tailseal.dev is forbidden" in result.stderr
    assert result.stderr.endswith("hint: -n NAMESPACE asks for less\n")


def test_an_api_server_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise Transient("no route")

    monkeypatch.setattr(seen.cluster, "list", nothing)
    result = run(monkeypatch, seen.cluster, "status")
    assert (result.exit_code, result.stderr) == (3, "error: the API server does not answer: no route\n")


def test_an_empty_cluster_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, FakeCluster(), "status").stdout == "There is nothing of Tailseal's yet.\n"
    elsewhere = "There is nothing of Tailseal's in namespace nowhere yet; -A shows all namespaces.\n"
    assert run(monkeypatch, FakeCluster(), "status", "-n", "nowhere").stdout == elsewhere


def _object(generation: int, *conditions: tuple[str, str, str, str]) -> dict[str, Any]:
    listed = [{"type": t, "status": s, "reason": r, "message": m} for t, s, r, m in conditions]
    status = {"observedGeneration": 1, "conditions": listed}
    return {"metadata": {"namespace": "a", "name": "b", "generation": generation}, "status": status}


READY = ("Ready", "True", "Ready", "it works now")


@pytest.mark.parametrize(
    ("generation", "conditions", "waits_for", "notes"),
    [
        (1, (READY,), "", ()),
        (2, (READY,), "the operator, which has not looked at the latest change yet", ()),
        (1, (("Ready", "False", "X", "no key"), ("Reconciling", "True", "X", "for key")), "for key", ()),
        (1, (("Ready", "False", "X", "no key"), ("Stalled", "True", "X", "for you")), "for you", ()),
        (1, (("Ready", "False", "X", "no key"),), "no key", ()),
        (1, (READY, ("Rotating", "True", "Rotating", "key k2 is to sign next")), "key k2 is to sign next", ()),
        (1, (READY, ("OverlapBroken", "True", "X", "text")), "", ("OverlapBroken=True X: text",)),
        (1, (READY, ("OverlapBroken", "False", "X", "text")), "", ()),
        (1, (READY, ("Overlapping", "True", "X", "text")), "", ("Overlapping=True X: text",)),
        (1, (READY, ("VerifiersUnreached", "True", "X", "text")), "", ("VerifiersUnreached=True X: text",)),
        (1, (READY, ("NodesLeft", "True", "X", "text")), "", ("NodesLeft=True X: text",)),
        (
            1,
            (READY, ("FastPropagation", "False", "KubeletSpeed", "slow")),
            "",
            ("FastPropagation=False KubeletSpeed: slow",),
        ),
        (1, (READY, ("FastPropagation", "True", "X", "")), "", ()),
    ],
)
def test_what_is_waited_for_and_what_has_to_be_said_besides(
    generation: int, conditions: tuple[tuple[str, str, str, str], ...], waits_for: str, notes: tuple[str, ...]
) -> None:
    found = line(kinds.TRUST_POLICY, _object(generation, *conditions))
    assert (found.waits_for, found.notes) == (waits_for, notes)


def test_a_text_that_would_steer_a_terminal_does_not(monkeypatch: pytest.MonkeyPatch, seen: World) -> None:
    def spoil(obj: dict[str, Any]) -> None:
        obj["status"]["conditions"][0]["message"] = obj["status"]["conditions"][-1]["message"] = "\x1b[31mred"
        obj["status"]["conditions"][-1] |= {"type": "FastPropagation", "status": "False"}

    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", spoil)
    assert "\x1b" not in run(monkeypatch, seen.cluster, "status").stdout


def _token(**claims: object) -> str:
    parts = [json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": "k"}), json.dumps(claims)]
    return ".".join([*(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts), "c2ln"])


def test_whoami_says_what_a_token_claims_and_never_the_token() -> None:
    token = _token(
        iss="https://idp.corp.example",
        sub="policy:identity/deploy",
        aud="k8s-prod",
        client_id="policy:identity/deploy",
        jti="77",
        exp=1800000000,
        act={"sub": "robot", "act": {"sub": "person"}},
    )
    result = CliRunner().invoke(cli, ["whoami", "--token-file", "-"], input=token)
    assert result.exit_code == 0, result.output
    said = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert said["username"].strip() == "policy:identity/deploy"
    assert said["actor"].strip() == "robot for person"
    assert said["expiryTime"].strip() == "2027-01-15T08:00:00Z"
    assert token not in result.stdout


def test_whoami_asks_the_cluster_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()

    async def known() -> dict[str, Any]:
        extra = {"tailseal.dev/policy": ["policy:identity/deploy"], "tailseal.dev/jti": ["77"], "other": ["x"]}
        return {"username": "tailseal:policy:identity/deploy", "groups": ["tailseal:deployers"], "extra": extra}

    monkeypatch.setattr(cluster, "whoami", known)
    answer = json.loads(run(monkeypatch, cluster, "whoami", "-o", "json").stdout)
    assert answer == {
        "apiVersion": "cli.tailseal.dev/v1alpha1",
        "kind": "Identity",
        "username": "tailseal:policy:identity/deploy",
        "groups": ["tailseal:deployers"],
        "policy": "policy:identity/deploy",
        "decision": "77",
    }


@pytest.mark.parametrize(
    ("arguments", "typed", "code", "said"),
    [
        (("--token-file", "-"), "nonsense", 2, "hint: a JWT is needed"),
        (("--token-file", "/nowhere/eyJhbGciOi"), "", 3, "error: --token-file: No such file or directory"),
        (("--token-file", "-", "--context", "x"), "", 2, "it goes with neither --kubeconfig nor --context"),
        (("--kubeconfig", "/nowhere"), "", 3, "no credentials for a cluster"),
        (("--kubeconfig", "/nowhere"), "", 3, "hint: `kubectl config get-contexts` lists what --context may name"),
    ],
)
def test_whoami_says_what_is_wrong(arguments: tuple[str, ...], typed: str, code: int, said: str) -> None:
    result = CliRunner().invoke(cli, ["whoami", *arguments], input=typed)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert "eyJ" not in result.output


PAGE = Path(__file__).parents[2] / "docs" / "kubectl.md"
NOBODY = "spec.identityProviderRef: there is no IdentityProvider identity/other"
RESERVED = "spec.grants[0].jwt.audiences[0]: https://idp.corp.example is reserved for this IdentityProvider"
SHOWN = [
    ("IdentityProvider", "identity", "corp", [READY]),
    ("SigningKey", "identity", "corp", [READY, ("Rotating", "True", "Rotating", "key k3Q is to sign next")]),
    ("TrustPolicy", "team-a", "deploy", [READY]),
    (
        "TrustPolicy",
        "team-a",
        "nightly",
        [
            ("Ready", "False", "ReservedAudience", RESERVED),
            ("Stalled", "True", "ReservedAudience", RESERVED),
        ],
    ),
    (
        "TrustPolicy",
        "team-b",
        "typo",
        [("Ready", "False", "RefNotFound", NOBODY), ("Reconciling", "True", "RefNotFound", NOBODY)],
    ),
]


def test_the_page_shows_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    for kind, namespace, name, conditions in SHOWN:
        obj = {"apiVersion": "tailseal.dev/v1alpha1", "kind": kind, **_object(1, *conditions)}
        obj["metadata"] |= {"namespace": namespace, "name": name}
        cluster.user_apply(obj)
        cluster.user_edit(kinds.of(obj), namespace, name, lambda stored, obj=obj: stored.update(status=obj["status"]))
    (block,) = re.findall(
        r"^```console\n\$ kubectl tailseal status\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    assert run(monkeypatch, cluster, "status").stdout == block
