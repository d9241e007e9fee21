"""`tailseal explain`: the verdict of production, what stood in the way, and nothing of the token."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fakes.manifests import AT, PINNED, PROVIDER, policy
from fakes.trust import BILLING, GITHUB, OURS
from tailseal.cli.main import cli

GOLDEN = Path(__file__).parent / "golden"
Sign = Callable[..., str]
Write = Callable[..., Path]


def explain(token: str, place: Path, *options: str) -> Result:
    return CliRunner().invoke(
        cli, ["explain", "--token-file", "-", "-f", str(place), "--at", AT, *options], input=token
    )


def explained(token: str, place: Path, *options: str) -> dict[str, Any]:
    result = explain(token, place, "-o", "json", *options)
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if document["decision"]["granted"] else 1)
    assert (document["apiVersion"], document["kind"]) == ("cli.tailseal.dev/v1alpha1", "Explanation")
    return document


def failure(token: str, place: Path, *options: str) -> dict[str, str]:
    """The first thing that stood in the way of the only policy."""
    (account,) = explained(token, place, *options)["policies"]
    first: dict[str, str] = account["firstFailure"]
    return first


def test_a_granted_token_is_code_0_and_says_what_it_gets(sign: Sign, folder: Write) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}))
    decision = explained(sign(), place)["decision"]
    assert decision["granted"] is True
    assert (decision["policy"], decision["grant"]) == ("team-a/deploy", "billing")
    assert (decision["audience"], decision["scopes"]) == ([BILLING], ["invoices.read"])


@pytest.mark.parametrize(
    ("rule", "claims", "outcome", "expected", "found", "fix"),
    [
        ({"claim": "ref", "exact": "refs/heads/main"}, {"ref": "x"}, "mismatch", '"refs/heads/main"', '"x"', "change"),
        ({"claim": "ref", "exact": "refs/heads/main"}, {"ref": "refs/heads/MAIN"}, "mismatch", "", "", "upper and"),
        ({"claim": "ref", "exact": "refs/heads/main"}, {"ref": "refs/heads/main/"}, "mismatch", "", "", "a slash at"),
        ({"claim": "ref", "exact": "refs/heads/*"}, {}, "mismatch", "", "", "write `glob`"),
        ({"claim": "ref", "glob": "refs/*"}, {}, "mismatch", '"refs/*"', '"refs/heads/main"', "** does not"),
        ({"claim": "ref", "oneOf": ["a", "b"]}, {}, "mismatch", '["a", "b"]', "", "oneOf"),
        ({"claim": "run_id", "exact": "7"}, {"run_id": 7}, "wrong type", '"7"', "7", "exactInteger"),
        ({"claim": "run_id", "exactInteger": 7}, {"run_id": "7"}, "wrong type", "7", '"7"', "`exact`"),
        ({"claim": "run_id", "exact": "7"}, {"run_id": True}, "wrong type", "", "true", "exactBoolean"),
        ({"claim": "ref", "exact": "a"}, {"ref": ["a"]}, "wrong type", "", '["a"]', "match: Any"),
        ({"claim": "ref", "exact": "a", "match": "Any"}, {"ref": "a"}, "wrong type", "", "", "leave `match` out"),
        ({"claim": "ref", "exact": "a", "match": "Any"}, {"ref": ["b"]}, "mismatch", "", "", "no element"),
        ({"claim": "repositry", "exact": "octo-org/shop"}, {}, "missing", "", None, "`repository`"),
        ({"claim": "environment", "exact": "prod"}, {}, "missing", '"prod"', None, "have the issuer put"),
        ({"claim": "environment", "present": True}, {}, "missing", "present: true", None, "as the rule asks"),
        ({"path": ["ref", "name"], "exact": "a"}, {}, "wrong type", "", None, "by `path`"),
    ],
)
def test_a_failed_rule_says_what_was_expected_and_found_and_what_would_help(  # noqa: PLR0913
    *,
    rule: dict[str, Any],
    claims: dict[str, Any],
    outcome: str,
    expected: str,
    found: str | None,
    fix: str,
    sign: Sign,
    folder: Write,
) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED, rule]}))
    first = failure(sign(**claims), place)
    assert (first["field"], first["outcome"]) == ("spec.from.oidc.claims[1]", outcome)
    assert expected in first["expected"]
    assert fix in first["fix"]
    assert (found is None) == ("found" not in first)
    assert (found or "") in first.get("found", "")


@pytest.mark.parametrize(
    ("oidc", "claims", "options", "field", "outcome", "fix"),
    [
        ({}, {"aud": "https://other.example"}, (), "spec.from.oidc.audiences", "mismatch", f"for {OURS}"),
        ({"algorithms": []}, {}, (), "spec.from.oidc.algorithms", "AlgorithmNotAllowed", "[RS256, EdDSA]"),
        ({"maxAge": "5s"}, {"iat": 1_799_999_000}, (), "spec.from.oidc.maxAge", "TokenTooOld", "raise maxAge"),
        ({}, {}, ("--audience", "https://x.example"), "spec.grants[billing]", "TargetNotGranted", BILLING),
        ({}, {}, ("--scope", "all invoices.read"), "spec.grants[billing]", "ScopeNotGranted", "leave out scope all,"),
        ({}, {}, ("--tag", "tag:x"), "spec.grants[billing]", "TagNotGranted", "granted: none"),
        ({}, {}, ("--grant", "api"), "spec.grants[billing]", "GrantNotFound", "ask for grant billing"),
        ({}, {}, ("--requested-token-type", "urn:x"), "spec.grants[billing]", "TokenTypeNotGranted", "another"),
    ],
)
def test_each_later_check_names_its_field_and_a_fix(  # noqa: PLR0913
    *,
    oidc: dict[str, Any],
    claims: dict[str, Any],
    options: tuple[str, ...],
    field: str,
    outcome: str,
    fix: str,
    sign: Sign,
    folder: Write,
) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]} | oidc))
    first = failure(sign(**claims), place, *options)
    assert (first["field"], first["outcome"]) == (field, outcome)
    assert fix in first["fix"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--scope", "all"), "invoices.read"),
        (("--audience", "https://x.example"), BILLING),
        (("--grant", "api"), "billing"),
        (("--tag", "tag:x"), "none"),
    ],
)
def test_what_a_grant_has_is_told_of_what_was_asked_for(
    options: tuple[str, ...], expected: str, sign: Sign, folder: Write
) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}))
    assert failure(sign(), place, *options)["expected"] == expected


def test_several_grants_that_fit_are_ambiguous(sign: Sign, folder: Write) -> None:
    grants = [{"name": name, "jwt": {"audiences": [f"https://{name}.corp.example"]}} for name in ("a", "b")]
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}, grants=grants))
    assert failure(sign(), place)["outcome"] == "AmbiguousGrant"
    assert explained(sign(), place, "--audience", "https://a.corp.example")["decision"]["grant"] == "a"


def test_a_policy_under_audit_says_that_it_would_grant(sign: Sign, folder: Write) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}, enforcement="Audit"))
    document = explained(sign(), place)
    assert (document["decision"]["reason"], document["decision"]["wouldAllow"]) == ("AuditOnly", ["team-a/deploy"])
    assert document["policies"][0]["firstFailure"]["field"] == "spec.enforcement"


def test_the_nearest_miss_is_the_policy_with_the_least_in_the_way(sign: Sign, folder: Write) -> None:
    wrong = [{"claim": "ref", "exact": "a"}, {"claim": "repository", "exact": "b"}]
    far, near = policy({"claims": [PINNED, *wrong]}, "a-far"), policy({"claims": [PINNED, wrong[0]]}, "b-near")
    place = folder(provider=PROVIDER, far=far, near=near)
    assert explained(sign(), place)["nearestMiss"] == "team-a/b-near"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://other.example"}, "UnknownIssuer"),
        ({"exp": 1_700_000_000}, "TokenExpired"),
        ({"iat": 1_900_000_000}, "TokenNotYetValid"),
        ({"sub": None}, "ClaimMissing"),
        ({"aud": None}, "ClaimMissing"),
        ({"iss": None}, "ClaimMissing"),
        ({"exp": "soon"}, "ClaimMalformed"),
    ],
)
def test_a_token_that_no_policy_could_save_is_refused_for_that(
    claims: dict[str, Any], reason: str, sign: Sign, folder: Write
) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}))
    assert explained(sign(**claims), place)["decision"]["reason"] == reason


@pytest.mark.parametrize(
    ("token", "reason"), [("nonsense", "TokenMalformed"), ("a.b.c", "TokenMalformed"), ("x" * 20_000, "TokenTooLarge")]
)
def test_what_is_no_token_is_refused_and_not_repeated(token: str, reason: str, folder: Write) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}))
    document = explained(token, place)
    assert (document["decision"]["reason"], document["token"]) == (reason, None)
    assert token[:8] not in json.dumps(document).replace('"granted"', "")


def test_the_signature_is_not_checked_unless_keys_are_at_hand_and_that_is_said(sign: Sign, folder: Write) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}))
    document = explained(sign(), place)
    assert document["keySources"][0]["signature"] == "not checked"
    assert "NOT checked" in document["warnings"][0]
    assert document["decision"]["signatureChecked"] is False
    assert "if the signature is right" in explain(sign(), place).stdout


def test_keys_in_a_file_check_the_signature(sign: Sign, folder: Write, tmp_path: Path, jwk: dict[str, Any]) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    document = explained(sign(), place, "--jwks", str(tmp_path / "jwks.json"))
    assert (document["keySources"][0]["signature"], document["warnings"]) == ("checked", [])
    forged = sign()[:-8] + ("AAAAAAAA" if not sign().endswith("AAAAAAAA") else "BBBBBBBB")
    refused = explained(forged, place, "--jwks", str(tmp_path / "jwks.json"))
    assert (refused["keySources"][0]["signature"], refused["decision"]["reason"]) == ("wrong", "BadSignature")


def test_keys_in_the_policy_check_the_signature(sign: Sign, folder: Write, jwk: dict[str, Any]) -> None:
    inline = {"claims": [PINNED], "keys": {"jwks": {"keys": [jwk]}}}
    foreign = {"claims": [PINNED], "keys": {"jwks": {"keys": [jwk | {"kid": "another"}]}}}
    place = folder(provider=PROVIDER, deploy=policy(inline), another=policy(foreign, "a-first"))
    document = explained(sign(), place)
    assert sorted(source["signature"] for source in document["keySources"]) == ["checked", "wrong"]
    assert document["decision"]["policy"] == "team-a/deploy"
    assert document["decision"]["signatureChecked"] is True


def test_a_policy_beyond_bounds_is_listed_with_every_finding(sign: Sign, folder: Write) -> None:
    place = folder(provider=PROVIDER, deploy=policy({}))
    document = explained(sign(), place)
    (entry,) = document["notAccepted"]
    assert entry["policy"] == "team-a/deploy"
    assert [finding["reason"] for finding in entry["findings"]] == ["TenantNotPinned"]


def test_without_the_provider_a_stand_in_decides_and_that_is_said(sign: Sign, folder: Write) -> None:
    place = folder(deploy=policy({"claims": [PINNED]}))
    document = explained(sign(aud="https://whoever.example"), place)
    assert document["decision"]["granted"] is True
    assert document["provider"]["assumed"] is True
    assert any("identity/corp is not among" in warning for warning in document["warnings"])


def test_several_providers_need_a_choice(sign: Sign, folder: Write) -> None:
    other = policy({"claims": [PINNED]}, "other", identityProviderRef={"name": "lab"})
    place = folder(deploy=policy({"claims": [PINNED]}), other=other)
    result = explain(sign(), place)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "identity/corp, team-a/lab" in result.stderr
    assert "--provider" in result.stderr
    assert explained(sign(), place, "--provider", "lab")["policies"][0]["policy"] == "team-a/other"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--token-file", "/no/such/file", "-f", "."], 3),
        (["--token-file", "-"], 2),
        (["--token-file", "-", "-f", "/no/such/folder"], 2),
        (["--token-file", "-", "-f", ".", "--at", "yesterday"], 2),
        (["--token-file", "-", "-f", "."], 2),
    ],
)
def test_wrong_usage_has_its_code_and_leaves_standard_output_alone(
    options: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["explain", *options], input="token")
    assert (result.exit_code, result.stdout) == (code, "")


CANARIES = {
    "jti": "canary-jti",
    "email": "canary@corp.example",
    "actor": "canary-actor",
    "nonce": "canary-nonce",
    "api_token": "canary-token",
    "groups": ["canary-group"],
    "workspace": {"owner": "canary-owner"},
}


@pytest.mark.parametrize("output", ["text", "json"])
def test_neither_the_token_nor_what_is_private_is_ever_printed(output: str, sign: Sign, folder: Write) -> None:
    rules = [{"claim": name, "exact": "x"} for name in CANARIES] + [{"claim": "head_ref", "exact": "x"}]
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {client_secret: canary-secret}\n"
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED, *rules]}), secret=secret)
    token = sign(**CANARIES, head_ref="canary@corp.example", base_ref="eyJcanary.x.y")
    result = explain(token, place, "-o", output)
    assert result.exit_code == 1
    everything = result.stdout + result.stderr
    assert "canary" not in everything
    assert not any(segment in everything for segment in token.split("."))


def test_a_token_in_place_of_its_file_or_beside_the_options_is_not_repeated(sign: Sign, folder: Write) -> None:
    token, place = sign(), folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}))
    for arguments in (["--token-file", token, "-f", str(place)], ["--token-file", "-", "-f", str(place), token]):
        result = CliRunner().invoke(cli, ["explain", *arguments])
        assert result.exit_code in {2, 3}
        assert token.split(".")[2][:20] not in result.output


def test_nothing_that_a_token_says_can_steer_the_terminal(sign: Sign, folder: Write) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED, {"claim": "ref", "exact": "a\x1b[31m"}]}))
    output = explain(sign(ref="\x1b[2J\u202e", sub="\x07"), place).stdout
    assert all(char.isprintable() or char == "\n" for char in output)


def test_the_text_is_as_it_was(sign: Sign, folder: Write) -> None:
    main_only = {"claim": "ref", "exact": "refs/heads/main"}
    place = folder(
        provider=PROVIDER,
        deploy=policy({"subject": {"glob": "repo:octo-org/*"}, "claims": [PINNED, main_only]}),
        other=policy({"issuer": "https://ci.foreign.example"}, "other"),
        wide=policy({"claims": [PINNED]}, "wide", [{"name": "x", "jwt": {"audiences": ["https://elsewhere.example"]}}]),
    )
    output = explain(sign(ref="refs/heads/dev"), place, "--audience", BILLING).stdout
    assert output == (GOLDEN / "explain.txt").read_text()  # hand-checked; write it anew from a failed run's output


def test_explaining_loads_nothing_that_could_send_or_serve(sign: Sign, folder: Write) -> None:
    place = folder(provider=PROVIDER, deploy=policy({"claims": [PINNED]}))
    program = (
        "import sys; from tailseal.cli.main import cli\n"
        f"try: cli(['explain', '--token-file', '-', '-f', {str(place)!r}, '--at', {AT!r}])\n"
        "except SystemExit as end: code = end.code\n"
        "print('IMPORTED', code, *[name for name in sys.modules if '.' not in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], input=sign(), capture_output=True, text=True, check=True)
    code, *loaded = done.stdout.rpartition("IMPORTED")[2].split()
    assert code == "0"
    assert set(loaded).isdisjoint({"kopf", "kubernetes", "httpx", "httpcore", "aiohttp", "uvicorn", "starlette"})


def test_the_help_names_exit_codes_and_that_nothing_is_fetched() -> None:
    result = CliRunner().invoke(cli, ["explain", "--help"])
    assert "Nothing is sent or fetched" in result.output
    assert "Exit codes" in result.output


def test_a_list_as_kubectl_prints_it_is_read(sign: Sign, folder: Write) -> None:
    items = [json.loads(policy({"claims": [PINNED]}))]
    place = folder(provider=PROVIDER, all=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    assert explained(sign(), place)["decision"]["policy"] == "team-a/deploy"
    assert GITHUB in explain(sign(), place).stdout
