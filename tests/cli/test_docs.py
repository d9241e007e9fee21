"""What `docs/explain.md` shows is what the commands print."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa

from tailseal.cli.main import cli

PAGE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text(blocks("yaml")[0])
    key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "token").write_text(jwt.encode(json.loads(blocks("json")[0]), key, "RS256", headers={"kid": "k1"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: str(block).split("\n", 1)[0])
def test_every_command_of_the_page_prints_what_the_page_shows(block: str, place: Path) -> None:
    command, _, output = block.partition("\n")
    program, *arguments = shlex.split(command.removeprefix("$ "))
    assert program == "tailseal"
    assert CliRunner().invoke(cli, arguments).stdout == output


def test_every_option_that_the_page_names_is_there() -> None:
    described = "".join(CliRunner().invoke(cli, [name, "--help"]).output for name in ("explain", "lint"))
    assert {option for option in re.findall(r"--[a-z][a-z-]*", PAGE) if option not in described} == set()
