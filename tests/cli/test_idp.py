"""`tailseal idp`: where it lets callers of a tailnet in."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tailseal.cli.idp import command

PLACES = ["--bundle", "/nowhere", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"]


@pytest.mark.parametrize("place", ["10.0.0.7:8444", "[fd00::7]:8444", "0.0.0.0:8444", "idp.corp.example:8444"])
def test_callers_of_the_tailnet_come_in_where_only_tailscaled_can_bring_them(place: str) -> None:
    result = CliRunner().invoke(command, [*PLACES, "--tailnet", place])
    assert result.exit_code == 2
    assert "--tailnet" in result.output
