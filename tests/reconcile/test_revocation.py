"""Trust that is withdrawn is withdrawn, whatever else is broken at that moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fakes.provider import NS, signing, standard
from fakes.world import World
from tailseal.cluster import kinds
from tailseal.cluster.port import Object

Change = Callable[[Object], None]


async def running() -> World:
    seen = standard()
    await seen.run_for(600)
    return seen


def revoke_signer(seen: World) -> str:
    """Its id goes into the SigningKey's list."""
    kid: str = signing(seen)["active"]["ES256"]
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update({"revokedKeyIDs": [kid]}))
    return kid


def assert_revoked(seen: World, kid: str) -> None:
    written = signing(seen)
    assert kid not in [key["kid"] for key in written["jwks"]["keys"]]
    assert kid not in [key["kid"] for key in written["held"]]
    assert kid not in written["active"].values()


DAMAGE: dict[str, Change] = {
    "unreadable": lambda secret: secret["data"].update({"ledger.json": "e30="}),
    "not ours any more": lambda secret: secret["metadata"].update({"labels": {}}),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_key_whose_own_ledger_is(damage: str) -> None:
    seen = await running()
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-signingkey", DAMAGE[damage])
    kid = revoke_signer(seen)
    await seen.converge()
    assert_revoked(seen, kid)


async def test_a_key_whose_own_ledger_is_lost() -> None:
    seen = await running()
    seen.cluster.user_delete(kinds.SECRET, NS, "corp-signingkey")
    kid = revoke_signer(seen)
    await seen.reconcile("IdentityProvider", NS, "corp")
    assert_revoked(seen, kid)
