"""What this version cannot do: nothing, as README says; whoever adds a field that comes later says so there."""

from pathlib import Path

from tailseal.api.unsupported import _LATER

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_readme_says_that_every_field_is_implemented_for_as_long_as_none_is_refused() -> None:
    assert ("Every field of the API is implemented" in README) is (not _LATER)
