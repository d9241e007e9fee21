"""`tailseal guard serve`: what it says of a file or a place that is wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from tailseal.cli.main import cli
from tailseal.workers.common.http.address import UnixAddress
from tailseal.workers.common.http.binding import bind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [", "not YAML at line 1"),
        ("rules: []", "rules: must be a list of 1 to"),
        ("rules: [{path: x, require: []}]", "rules[0].path: must be a path"),
        ("{}", "rules: must be a list"),
    ],
)
def test_a_file_that_is_wrong_ends_it_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rules.yaml").write_text(text)
    result = CliRunner().invoke(cli, ["guard", "serve", str(tmp_path / "rules.yaml")])
    assert result.exit_code == 1
    assert said in result.output


@pytest.mark.parametrize(
    "options",
    [
        ["--listen=unix:relative.sock"],
        ["--listen=unix:/" + "x" * 107],
        ["--listen=0.0.0.0:9180"],
        ["--socket-mode=999"],
        ["--identity=name"],
        ["--identity=capabilities", "--service=svc:app"],
    ],
)
def test_options_that_make_no_sense_end_it(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "rules.yaml").write_text("rules: [{path: /, require: []}]")
    assert CliRunner().invoke(cli, ["guard", "serve", str(tmp_path / "rules.yaml"), *options]).exit_code == 2


def test_a_socket_that_nobody_listens_on_is_replaced_and_one_that_is_in_use_is_not(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a.sock"), 0o600)
    first, where = bind(address)
    assert str(where) == f"unix:{tmp_path}/a.sock"
    assert stat.S_IMODE(Path(address.path).stat().st_mode) == 0o600
    first.listen()
    with pytest.raises(OSError, match="in use"):
        bind(address)
    first.close()
    second, _ = bind(address)
    second.close()


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.sock").write_text("precious")
    with pytest.raises(OSError, match="in use"):
        bind(UnixAddress(str(tmp_path / "a.sock")))
    assert (tmp_path / "a.sock").read_text() == "precious"
