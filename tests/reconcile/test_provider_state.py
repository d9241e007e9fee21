"""The database's URL goes where the workers read it, and what is wrong with it is said without saying it."""

from __future__ import annotations

import pytest

from fakes.provider import conditions, files, message, provider, secret, signing_key, world
from fakes.world import World
from tailseal.cluster.port import Object

STORAGE = {"type": "Postgres", "postgres": {"urlSecretRef": {"name": "db"}}}
URL = "postgresql://ana:CANARY@db.identity/app"


async def settled(*objects: Object) -> World:
    seen = world(*objects)
    await seen.converge()
    await seen.run_for(10)
    return seen


async def test_the_url_and_its_authorities_are_copied() -> None:
    held = secret("db", **{"url": f"{URL}\n", "ca.crt": "PEM"})
    seen = await settled(signing_key(), provider(storage=STORAGE), held)
    assert files(seen, "corp-credentials") == {"state.url": URL.encode(), "state.ca.crt": b"PEM"}
    assert conditions(seen)["ResolvedRefs"] == ("True", "Resolved")
    assert conditions(seen)["Accepted"] == ("True", "Accepted")


@pytest.mark.parametrize(
    ("held", "reason", "text"),
    [
        ([], "RefNotFound", "there is no Secret db in namespace identity that carries the label"),
        ([secret("db", allowed=False, url=URL)], "RefNotFound", "carries the label"),
        ([secret("db", uri=URL)], "RefInvalid", "Secret db lacks url"),
        ([secret("db", url="mysql://ana:CANARY@db/app")], "RefInvalid", "url must be postgresql://"),
        ([secret("db", url=f"{URL}?sslmode=prefer")], "RefInvalid", "sslmode must be one of"),
    ],
    ids=["missing", "not allowed", "another name", "another database", "half encrypted"],
)
async def test_a_database_that_cannot_be_named_is_said(held: list[Object], reason: str, text: str) -> None:
    seen = await settled(signing_key(), provider(storage=STORAGE), *held)
    assert conditions(seen)["ResolvedRefs"] == ("False", reason)
    assert message(seen, "ResolvedRefs").startswith("spec.storage.postgres.urlSecretRef: ")
    assert text in message(seen, "ResolvedRefs")
    assert "CANARY" not in message(seen, "ResolvedRefs")
    assert files(seen, "corp-credentials") == {}
