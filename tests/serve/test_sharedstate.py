"""A folder's provider remembers in a file, unless it names a database."""

from __future__ import annotations

import pytest

from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.domain.bundle.build import settings_of
from tailseal.workers.embedded.sharedstate import needed_secret, state_files, with_state

URL = b"postgresql://ana:canary@db/app"


def spec(**more: object) -> IdentityProviderSpec:
    return IdentityProviderSpec.model_validate(
        {"issuer": "https://idp.example", "signingKeys": [{"name": "corp"}], **more}
    )


def test_what_a_folder_names_decides_where_is_remembered() -> None:
    postgres = spec(storage={"type": "Postgres", "postgres": {"urlSecretRef": {"name": "db"}}})
    for wanted, given, secret in (("SQLite", spec(), None), ("Postgres", postgres, "db")):
        assert with_state(settings_of(given, namespace="n", name="corp")).state == wanted
        assert needed_secret(given) == secret


def test_the_files_are_those_that_the_operator_would_copy() -> None:
    data = {"url": URL + b"\n", "ca.crt": b"PEM"}
    assert state_files("db", data) == {"state.url": URL, "state.ca.crt": b"PEM"}


@pytest.mark.parametrize("url", [b"", b"\xff", b"mysql://ana:canary@db/app"])
def test_a_secret_that_will_not_do_is_said_without_its_content(url: bytes) -> None:
    said = state_files("db", {"url": url})
    assert isinstance(said, str)
    assert "db" in said
    assert "canary" not in said
