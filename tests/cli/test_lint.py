"""`tailseal lint`: every finding with its place and a remedy, in each format, with an exit code for CI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fakes.manifests import PINNED, PROVIDER, SIGNING_KEY, policy
from tailseal.cli.main import cli

GOLDEN = Path(__file__).parent / "golden"
Write = Callable[..., Path]
GOOD = policy({"claims": [PINNED]})
BILLING = {"name": "billing", "jwt": {"audiences": ["https://billing.corp.example"], "scopes": ["invoices.read"]}}
OTHER = {"name": "other", "jwt": {"audiences": ["https://other.corp.example"]}}
EXPIRED = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}


def lint(place: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["lint", str(place), *options])


def findings(place: Path, *options: str) -> list[dict[str, Any]]:
    result = lint(place, "-o", "json", *options)
    document = json.loads(result.stdout)
    assert (document["apiVersion"], document["kind"]) == ("cli.tailseal.dev/v1alpha1", "LintReport")
    found: list[dict[str, Any]] = document["findings"]
    assert result.exit_code == (1 if any(entry["level"] != "note" for entry in found) else 0)
    return found


def told(place: Path, *options: str) -> set[tuple[str, str | None, str | None]]:
    """Rule, object's name and field of everything that was found."""
    return {(entry["rule"], entry["name"], entry["field"]) for entry in findings(place, *options)}


def test_a_good_folder_is_code_0_and_says_nothing(folder: Write) -> None:
    result = lint(folder(provider=PROVIDER, key=SIGNING_KEY, deploy=GOOD))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 findings in 3 manifests of 3 files\n"


@pytest.mark.parametrize("place", ["examples/quickstart", "examples/tailnet"])
def test_our_examples_are_clean(place: str) -> None:
    assert lint(Path(__file__).parents[2] / place).exit_code == 0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"bad": "a: ["}, {("Unreadable", None, None)}),
        ({"bad": "- 1"}, {("Unreadable", None, None)}),
        ({"twice": GOOD}, {("Duplicate", "deploy", "metadata.name")}),
        ({"deploy": policy({})}, {("TenantNotPinned", "deploy", "spec.from.oidc.claims")}),
        ({"deploy": policy({"claims": [PINNED], "x": 1})}, {("InvalidSpec", "deploy", "spec.from.oidc.x")}),
        (
            {"deploy": policy({"claims": [PINNED, {"claim": "a", "regex": "("}]})},
            {("InvalidSpec", "deploy", "spec.from.oidc.claims[1].regex")},
        ),
        (
            {"deploy": policy({"claims": [PINNED], "audiences": ["https://x.example"]})},
            {("ExceedsBounds", "deploy", "spec.from.oidc.audiences")},
        ),
        (
            {
                "deploy": policy(
                    {"claims": [PINNED]}, grants=[{"name": "a", "jwt": {"audiences": ["https://x.example"]}}]
                )
            },
            {("ExceedsBounds", "deploy", "spec.grants[0].jwt.audiences[0]")},
        ),
        (
            {
                "deploy": policy(
                    {"claims": [PINNED]}, grants=[{"name": "a", "tailscale": {"upstream": "x", "scopes": ["a"]}}]
                )
            },
            {
                ("RefNotFound", "deploy", "spec.grants[0].tailscale.upstream"),
                ("ExceedsBounds", "deploy", "spec.grants[0].tailscale.upstream"),
            },
        ),
        ({"key": "# none yet"}, {("RefNotFound", "corp", "spec.signingKeys[0].name")}),
        ({"key": f"{SIGNING_KEY}spec: {{algorithm: HS256}}"}, {("InvalidSpec", "corp", "spec.algorithm")}),
        (
            {"deploy": policy({"claims": [PINNED]}, identityProviderRef={"name": "x"})},
            {("RefNotFound", "deploy", "spec.identityProviderRef")},
        ),
        (
            {"secret": "apiVersion: v1\nkind: Secret\nmetadata: {name: ts, namespace: identity}\ndata: {}\n"},
            {("RefNotPermitted", "corp", "spec.upstreams[0].tailscale.oauthClientSecretRef")},
        ),
        (
            {"lab": PROVIDER.replace("name: corp, namespace", "name: lab, namespace")},
            {("IssuerTaken", "lab", "spec.issuer")},
        ),
        (
            {
                "provider": PROVIDER.replace("maxTTL: 1h", "maxTTL: 1h\n      maxPolicies: 1"),
                "b": policy({"claims": [PINNED]}, "b"),
            },
            {("CapacityExceeded", "deploy", "metadata.namespace"), ("Shadowed", "deploy", "spec")},
        ),
        (
            {
                "deploy": policy(
                    {"claims": [PINNED], "keys": {"jwks": EXPIRED | {"expiryTime": "2020-01-01T00:00:00Z"}}}
                )
            },
            {("KeysExpired", "deploy", "spec.from.oidc.keys.jwks.expiryTime")},
        ),
        (
            {"deploy": policy({"claims": [PINNED, {"claim": "repository_owner_id", "glob": "7*"}]})},
            {("NeverMatches", "deploy", "spec.from.oidc.claims[0]")},
        ),
        (
            {"deploy": policy({"claims": [PINNED, {"claim": "repository_owner_id", "present": False}]})},
            {("NeverMatches", "deploy", "spec.from.oidc.claims[0]")},
        ),
    ],
)
def test_everything_that_is_wrong_is_found_and_nothing_else(
    files: dict[str, str], expected: set[tuple[str, str, str]], folder: Write
) -> None:
    place = folder(**{"provider": PROVIDER, "key": SIGNING_KEY, "deploy": GOOD} | files)
    assert told(place) == expected
    assert all(entry["remedy"] for entry in findings(place))


def pair(first: dict[str, Any], second: dict[str, Any]) -> tuple[str, str]:
    """Two policies, the first before the second."""
    return (
        policy({"claims": first.pop("claims")}, "a", **first),
        policy({"claims": second.pop("claims")}, "b", **second),
    )


MAIN = {"claim": "ref", "exact": "refs/heads/main"}
HEADS = {"claim": "ref", "glob": "refs/heads/*"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # the same twice
        ({"claims": [PINNED]}, {"claims": [PINNED]}, {("Shadowed", "b", "spec")}),
        # the wider comes first
        ({"claims": [PINNED]}, {"claims": [PINNED, MAIN]}, {("Shadowed", "b", "spec")}),
        ({"claims": [PINNED, HEADS]}, {"claims": [MAIN, PINNED]}, {("Shadowed", "b", "spec")}),
        ({"claims": [PINNED, HEADS]}, {"claims": [HEADS, PINNED]}, {("Shadowed", "b", "spec")}),
        (
            {"claims": [PINNED, {"claim": "ref", "regex": "refs/heads/.*"}]},
            {"claims": [MAIN, PINNED]},
            {("Shadowed", "b", "spec")},
        ),
        # the narrower comes first: both have their use
        ({"claims": [PINNED, MAIN]}, {"claims": [PINNED]}, set()),
        # the second gives what the first does not
        ({"claims": [PINNED]}, {"claims": [PINNED, MAIN], "grants": [OTHER]}, {("Ambiguous", "b", "spec.grants")}),
        ({"claims": [PINNED, MAIN], "grants": [OTHER]}, {"claims": [PINNED]}, {("Ambiguous", "a", "spec.grants")}),
        # the first may be unsure which grant is meant
        ({"claims": [PINNED], "grants": [BILLING, OTHER]}, {"claims": [PINNED, MAIN]}, set()),
        # one that is tried out is meant to be beside another
        ({"claims": [PINNED]}, {"claims": [PINNED, MAIN], "enforcement": "Audit"}, set()),
        ({"claims": [PINNED], "enforcement": "Audit"}, {"claims": [PINNED, MAIN]}, set()),
        # a pattern that is not known to lie within another
        ({"claims": [PINNED, HEADS]}, {"claims": [PINNED, {"claim": "ref", "glob": "refs/heads/m*"}]}, set()),
        # any and all elements of a list are two things, though both are written the same
        (
            {"claims": [PINNED, {"claim": "groups", "exact": "a", "match": "All"}]},
            {"claims": [PINNED, {"claim": "groups", "exact": "a", "match": "Any"}]},
            set(),
        ),
    ],
)
def test_policies_that_others_go_before_are_told_where_it_is_certain(
    first: dict[str, Any], second: dict[str, Any], expected: set[tuple[str, str, str]], folder: Write
) -> None:
    one, two = pair(dict(first), dict(second))
    assert told(folder(provider=PROVIDER, key=SIGNING_KEY, a=one, b=two)) == expected


def test_a_team_can_lint_its_folder_beside_the_platforms(folder: Write, tmp_path: Path) -> None:
    place, platform = folder(deploy=policy({})), tmp_path / "platform.yaml"
    platform.write_text(PROVIDER)
    assert told(place) == {
        ("RefNotFound", "deploy", "spec.identityProviderRef"),
        ("TenantNotPinned", "deploy", "spec.from.oidc.claims"),
    }
    assert told(place, "--with", str(platform)) == {("TenantNotPinned", "deploy", "spec.from.oidc.claims")}


def test_folders_within_folders_count_on_request_and_an_empty_one_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deploy.yaml").write_text(policy({}))
    result = lint(tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "-R" in result.stderr
    assert ("TenantNotPinned", "deploy", "spec.from.oidc.claims") in told(tmp_path, "-R")


def test_findings_name_file_and_line(folder: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    block = (
        "---\n# nothing\n---\napiVersion: tailseal.dev/v1alpha1\nkind: TrustPolicy\nmetadata:\n  name: deploy\n"
        "spec:\n  identityProviderRef: {name: corp, namespace: identity}\n  from:\n    oidc:\n"
        "      issuer: https://ci.foreign.example\n      claims:\n        - claim: a\n          exact: b\n"
        "        - claim: c\n          regex: '('\n  grants:\n    - name: x\n"
    )
    found = findings(folder(provider=PROVIDER, key=SIGNING_KEY, deploy=block, bad="a: 1\nb: [\n"))
    places = {(entry["file"], entry["line"], entry["field"]) for entry in found}
    assert ("manifests/deploy.yaml", 19, "spec.grants[0]") in places
    assert ("manifests/bad.yaml", 3, None) in places


BROKEN = {"provider": PROVIDER, "deploy": policy({"claims": [PINNED], "x": 1}), "twice": GOOD, "bad": "a: [\n"}


def test_the_text_is_as_it_was(folder: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    folder(**BROKEN)
    assert lint(Path("manifests")).stdout == (GOLDEN / "lint.txt").read_text()


def test_github_gets_one_annotation_a_finding_with_nothing_unescaped(
    folder: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    place = folder(**BROKEN)
    (place / "deploy.yaml").rename(place / "a,b:c%.yaml")
    lines = lint(Path("manifests"), "-o", "github").stdout.splitlines()
    assert len(lines) == len(findings(place))
    assert all(line.startswith(("::error file=manifests/", "::warning file=", "::notice file=")) for line in lines)
    assert any("file=manifests/a%2Cb%3Ac%25.yaml,line=" in line for line in lines)


def test_sarif_has_the_shape_that_code_scanning_reads(
    folder: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = lint(folder(**BROKEN), "-o", "sarif")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert len(run["results"]) == len(findings(tmp_path / "manifests"))
    assert len({entry["partialFingerprints"]["object/v1"] for entry in run["results"]}) == len(run["results"])
    for entry in run["results"]:
        assert rules[entry["ruleIndex"]]["id"] == entry["ruleId"]
        assert entry["level"] in {"error", "warning", "note"}
        assert entry["message"]["text"]
        (location,) = entry["locations"]
        assert (tmp_path / location["physicalLocation"]["artifactLocation"]["uri"]).is_file()
        assert location["physicalLocation"]["region"]["startLine"] >= 1


@pytest.mark.parametrize("output", ["json", "sarif"])
def test_a_clean_folder_is_a_document_too(output: str, folder: Write) -> None:
    result = lint(folder(provider=PROVIDER, key=SIGNING_KEY, deploy=GOOD), "-o", output)
    assert (result.exit_code, bool(json.loads(result.stdout))) == (0, True)


@pytest.mark.parametrize("output", ["text", "json", "sarif", "github"])
def test_secrets_are_never_printed(output: str, folder: Write) -> None:
    secret = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: ts, namespace: identity}\nstringData: {client_secret: canary}\n"
    )
    place = folder(provider=PROVIDER, deploy=policy({}), secret=secret, broken=f"{secret}canary: [canary", twice=secret)
    result = lint(place, "-o", output)
    assert result.exit_code == 1
    assert "canary" not in result.stdout + result.stderr


def test_linting_loads_nothing_that_could_send_or_serve(folder: Write) -> None:
    place = folder(provider=PROVIDER, key=SIGNING_KEY, deploy=GOOD)
    program = (
        "import sys; from tailseal.cli.main import cli\n"
        f"try: cli(['lint', {str(place)!r}])\n"
        "except SystemExit as end: code = end.code\n"
        "print('IMPORTED', code, *[name for name in sys.modules if '.' not in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    code, *loaded = done.stdout.rpartition("IMPORTED")[2].split()
    assert code == "0"
    assert set(loaded).isdisjoint({"kopf", "kubernetes", "httpx", "httpcore", "aiohttp", "uvicorn", "starlette"})
