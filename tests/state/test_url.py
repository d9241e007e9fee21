"""URLs of databases are understood wholly or not at all, and what is wrong is said without quoting them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.state.url import DatabaseURL, URLInvalid


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("postgresql://ana:secret@db.example/app", ("db.example", 5432, "ana", "secret", "app", "verify-full")),
        ("postgres://ana@db:6432/app?sslmode=require\n", ("db", 6432, "ana", "", "app", "require")),
        ("postgresql://a%40b:p%2Fw@[::1]:5433/app?sslmode=disable", ("::1", 5433, "a@b", "p/w", "app", "disable")),
        ("postgresql://ana:x@db/app?sslmode=verify-ca", ("db", 5432, "ana", "x", "app", "verify-ca")),
    ],
)
def test_a_url_is_read(text: str, wanted: tuple[object, ...]) -> None:
    url = DatabaseURL.parse(text)
    assert (url.host, url.port, url.user, url.password, url.database, url.sslmode) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mysql://ana:canary@db/app",
        "postgresql://ana:canary@db",
        "postgresql://db/app",
        "postgresql://ana:canary@/app",
        "postgresql:///app?host=/run/postgresql",
        "postgresql://ana:canary@one,two/app",
        "postgresql://ana:canary@db:0x50/app",
        "postgresql://ana:canary@db/app/more",
        "postgresql://ana:canary@db/app#canary",
        "postgresql://ana:canary@db/app?sslmode=prefer",
        "postgresql://ana:canary@db/app?sslmode=require&sslmode=disable",
        "postgresql://ana:canary@db/app?sslrootcert=/canary",
        "postgresql://ana:canary@db/app?canary",
        "host=db user=ana password=canary",
    ],
)
def test_what_is_not_understood_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(URLInvalid) as error:
        DatabaseURL.parse(text)
    assert "canary" not in str(error.value)


def test_the_password_is_not_shown() -> None:
    assert "canary" not in repr(DatabaseURL.parse("postgresql://ana:canary@db/app"))


@given(st.text() | st.text().map(lambda text: f"postgresql://{text}"))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    with contextlib.suppress(URLInvalid):
        DatabaseURL.parse(text)
