"""The configuration that makes a kube-apiserver trust an issuer: what is refused, and what the page shows of it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fakes.kubectl import PROVIDER, SOURCES
from tailseal.cli.main import cli
from tailseal.domain.relying import Relying, RelyingError, configuration

PAGE = (SOURCES.parent / "docs" / "kubernetes.md").read_text()
GOOD = Relying("https://idp.corp.example", ("k8s-prod",))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (GOOD._replace(issuer="http://idp.corp.example"), "https only"),
        (GOOD._replace(audiences=()), "an audience is needed"),
        (GOOD._replace(audiences=("",)), "an audience is needed"),
        (GOOD._replace(audiences=("k8s", GOOD.issuer)), "the issuer itself"),
        (GOOD._replace(prefix=""), "the prefix must be there"),
        (GOOD._replace(prefix="x' + 'system:"), "without quotes"),
        (GOOD._replace(groups="team"), "every policy may set it"),
        (GOOD._replace(groups="scope"), "every policy may set it"),
    ],
)
def test_a_configuration_that_trusts_too_much_is_not_made(asked: Relying, said: str) -> None:
    with pytest.raises(RelyingError, match=said):
        configuration(asked)


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["kube", "authentication-config", "-f", str(folder), *arguments])
    return result.exit_code, result.output


def test_the_provider_is_found_by_its_name_and_must_be_one(tmp_path: Path) -> None:
    assert command(tmp_path, "--audience", "a") == (1, "error: there is no IdentityProvider there\n")
    text = PROVIDER.format(issuer="https://a.example")
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(text.replace("a.example", "b.example").replace("corp,", "other,"))
    assert "there are several: identity/corp, identity/other" in command(tmp_path, "--audience", "a")[1]
    code, printed = command(tmp_path, "other", "--audience", "a")
    assert (code, yaml.safe_load(printed)["jwt"][0]["issuer"]["url"]) == (0, "https://b.example")
    assert command(tmp_path, "other", "--audience", "a", "--max-lifetime", "1d")[0] == 2


def test_a_provider_whose_keys_no_api_server_verifies_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(PROVIDER.format(issuer="https://a.example"))
    key = {"apiVersion": "tailseal.dev/v1alpha1", "kind": "SigningKey", "spec": {"algorithm": "EdDSA"}}
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(key | {"metadata": {"name": "corp", "namespace": "identity"}}))
    code, printed = command(tmp_path, "--audience", "a")
    assert (code, "EdDSA, which a kube-apiserver does not verify" in printed) == (1, True)


def test_the_page_shows_what_the_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"^```(yaml|console)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "identity.yaml").write_text(next(text for _, text in shown if "kind: IdentityProvider" in text))
    line, _, printed = next(text for kind, text in shown if kind == "console").partition("\n")
    program, *arguments = shlex.split(line.removeprefix("$ "))
    assert (program, CliRunner().invoke(cli, arguments).stdout) == ("tailseal", printed)


def test_every_manifest_of_the_page_is_without_findings(tmp_path: Path) -> None:
    for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)):
        if "tailseal.dev/v1alpha1" in text:
            (tmp_path / f"{number}.yaml").write_text(text)
    result = CliRunner().invoke(cli, ["lint", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (0, "")


def test_every_option_that_the_page_names_is_there() -> None:
    commands = (["kube", "authentication-config"], ["kubectl-credential"])
    described = "".join(CliRunner().invoke(cli, [*name, "--help"]).output for name in commands)
    theirs = {"--authentication-config", "--decision"}
    assert {option for option in re.findall(r"--[a-z][a-z-]+", PAGE) if option not in described} <= theirs
