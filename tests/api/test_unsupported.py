"""What this version cannot do: the README lists it, no more and no less."""

import re
from pathlib import Path

from tailseal.api.base import to_alias
from tailseal.api.unsupported import _LATER

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_readme_names_exactly_the_fields_that_are_refused() -> None:
    listed = README.partition("Those are, ")[2].partition("\n\n")[0]
    named = {path.rpartition(".")[2] for path in re.findall(r"`([^`]+)`", listed)}
    assert named == {to_alias(field.rpartition(".")[2]) for field in _LATER}
