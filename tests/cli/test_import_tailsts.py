"""`tailseal import tailsts`: what comes out means the same, is valid, and says what was added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tailseal.api.parse import parse
from tailseal.cli.main import cli

GOLDEN = Path(__file__).parent / "golden"
SHOP = """
issuer = "https://token.actions.githubusercontent.com"
algorithm = "RS256"
subject = "repo:octo-org/shop:ref:refs/heads/main"
jwks_url = "https://token.actions.githubusercontent.com/.well-known/jwks"
allowed_scopes = ["devices:core:read", "acl"]
"""
ANYONE = """
issuer = "https://ci.foreign.example"
algorithm = "RS256"
jwks_url = "https://ci.foreign.example/keys"
allowed_scopes = ["dns:read"]
"""


def run(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["import", "tailsts", str(directory), *options])


def write(directory: Path, **files: str) -> Path:
    for name, content in files.items():
        (directory / f"{name}.toml").write_text(content)
    return directory


def taken_over(directory: Path, *options: str) -> list[dict[str, Any]]:
    result = run(directory, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    return [document for document in yaml.safe_load_all(result.stdout) if document is not None]


def test_every_member_finds_its_place(tmp_path: Path) -> None:
    (policy,) = taken_over(
        write(tmp_path, shop=SHOP), "--provider", "identity/corp", "--upstream", "prod", "-n", "team-a"
    )
    assert policy["metadata"] == {"name": "shop", "namespace": "team-a"}
    assert policy["spec"] == {
        "identityProviderRef": {"name": "corp", "namespace": "identity"},
        "from": {
            "oidc": {
                "issuer": "https://token.actions.githubusercontent.com",
                "keys": {"jwksURI": "https://token.actions.githubusercontent.com/.well-known/jwks"},
                "algorithms": ["RS256"],
                "subject": {"exact": "repo:octo-org/shop:ref:refs/heads/main"},
            }
        },
        "grants": [{"name": "api", "tailscale": {"upstream": "prod", "scopes": ["devices:core:read", "acl"]}}],
    }


def test_what_comes_out_is_valid_and_audiences_are_written_if_given(tmp_path: Path) -> None:
    policies = taken_over(write(tmp_path, a=SHOP, b=ANYONE), "--audience", "https://sts.corp.example")
    for policy in policies:
        spec = parse("TrustPolicy", policy)
        assert spec.from_.oidc is not None
        assert spec.from_.oidc.audiences == ("https://sts.corp.example",)


def test_the_output_is_as_it_was(tmp_path: Path) -> None:
    result = run(write(tmp_path, shop=SHOP, anyone=ANYONE, later=ANYONE))
    assert result.stdout == (GOLDEN / "import-tailsts.yaml").read_text()


def test_a_comment_says_what_was_added_and_why(tmp_path: Path) -> None:
    text = run(write(tmp_path, a=SHOP, b=SHOP, c=ANYONE)).stdout
    assert text.count("TailSTS took tokens for anybody") == 3
    assert "TailSTS never came to this policy, since a.toml has the same issuer" in text
    assert "not accepted until it has an exact rule on one of enterprise_id, repository_id" in text
    assert text.count("No subject: everybody") == 1


def test_a_policy_that_tailsts_never_used_does_not_begin_to_grant(tmp_path: Path) -> None:
    policies = taken_over(write(tmp_path, a=SHOP, b=SHOP, c=ANYONE))
    assert [policy["spec"].get("enforcement") for policy in policies] == [None, "Audit", None]


@pytest.mark.parametrize(
    ("issuer", "subject", "required"),
    [
        ("https://token.actions.githubusercontent.com", "repo:octo-org/shop:ref:refs/heads/main", True),
        ("https://token.actions.githubusercontent.com", "repo:octo-org@65/shop@7:ref:refs/heads/main", False),
        ("https://accounts.google.com", "1093", False),
        ("https://ci.foreign.example", "job", False),
    ],
)
def test_an_id_is_asked_for_only_where_the_policy_would_be_refused_without(
    issuer: str, subject: str, *, required: bool, tmp_path: Path
) -> None:
    content = ANYONE.replace("https://ci.foreign.example", issuer, 1) + f'subject = "{subject}"'
    assert ("REQUIRED" in run(write(tmp_path, a=content)).stdout) is required


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (SHOP + 'audience = "x"', "audience: there is no such key"),
        (SHOP.replace("issuer", "issuers"), "issuer: a text is required"),
        (SHOP.replace('algorithm = "RS256"', ""), "algorithm: a text is required"),
        (SHOP.replace('"RS256"', '"HS256"'), "algorithm: must be"),
        (SHOP.replace('"RS256"', '"none"'), "algorithm: must be"),
        (SHOP.replace("jwks_url", "#"), "jwks_url: a text is required"),
        (SHOP.replace('jwks_url = "https', 'jwks_url = "http'), "jwks_url: must be an https:// URL"),
        (SHOP.replace('["devices:core:read", "acl"]', "[]"), "allowed_scopes: a list of at least one text"),
        (SHOP.replace('["devices:core:read", "acl"]', "[1]"), "allowed_scopes: a list of at least one text"),
        (SHOP.replace('["devices:core:read", "acl"]', '["a b"]'), "allowed_scopes: must match"),
        (SHOP.replace('subject = "', "subject = 1 #"), "subject: must be a text"),
        ("issuer =", "is not TOML"),
    ],
)
def test_what_cannot_be_taken_over_is_named_and_nothing_is_written(content: str, said: str, tmp_path: Path) -> None:
    result = run(write(tmp_path, good=ANYONE, bad=content))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"bad.toml: {said}" in result.stderr
    assert "good.toml" not in result.stderr


def test_no_value_of_a_file_is_repeated_in_an_error(tmp_path: Path) -> None:
    bad = SHOP.replace("https", "canary").replace('"RS256"', '"canary"') + "client_secret = 'canary'"
    result = run(write(tmp_path, bad=bad))
    assert result.exit_code == 1
    assert "canary" not in result.output


def test_texts_stay_texts_whatever_they_hold(tmp_path: Path) -> None:
    subject = 'a: "b" # c\\u0007 {d} \\u2028 é'
    (policy,) = taken_over(write(tmp_path, a=ANYONE + f'subject = "{subject.replace(chr(34), chr(92) + chr(34))}"'))
    assert policy["spec"]["from"]["oidc"]["subject"]["exact"] == 'a: "b" # c\x07 {d} \u2028 é'


def test_names_come_from_files_and_never_collide(tmp_path: Path) -> None:
    for name in ("My Policy.toml", "my_policy.toml", "é.toml", "noending"):
        (tmp_path / name).write_text(ANYONE)
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "folder").mkdir()
    names = [policy["metadata"]["name"] for policy in taken_over(tmp_path)]
    assert names == ["my-policy", "my-policy-2", "noending", "policy"]


def test_an_empty_folder_is_wrong_usage(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
