"""Who may revoke what: an id on the wrong SigningKey's list harms nobody, and bars nobody from revoking his own key."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from fakes.issuer import WAIT, Issuer, key, spare
from tailseal.domain.rotation import OfferedKey, remembered, revoked_offer


def running() -> Issuer:
    """`a` signs ES256, `b` RS256, and each has a spare."""
    issuer = Issuer(
        key("a1", "a"), spare("a2", "a"), key("b1", "b", "RS256"), spare("b2", "b", "RS256"), order=("a", "b")
    )
    issuer.live(WAIT)
    return issuer


def orders(*offered: OfferedKey) -> list[tuple[OfferedKey, ...]]:
    return list(permutations(offered))


MISTAKE = revoked_offer("b1", "a")
"""The id of `b`'s key on the list of `a`."""
KEYS = (key("a1", "a"), key("b1", "b", "RS256"))


@pytest.mark.parametrize("offered", orders(MISTAKE, *KEYS))
def test_an_id_on_the_wrong_list_stops_nobodys_key(offered: tuple[OfferedKey, ...]) -> None:
    issuer = running()
    issuer.offered = (*offered, spare("a2", "a"), spare("b2", "b", "RS256"))
    issuer.live(WAIT)
    assert dict(issuer.last.active) == {"ES256": "a1", "RS256": "b1"}


@pytest.mark.parametrize("offered", orders(MISTAKE, revoked_offer("b1", "b"), *KEYS))
def test_an_id_on_two_lists_is_revoked_by_its_owner(offered: tuple[OfferedKey, ...]) -> None:
    issuer = running()
    issuer.offered = (*offered, spare("a2", "a"), spare("b2", "b", "RS256"))
    assert "b1" not in {jwk["kid"] for jwk in issuer.step().published}
    assert "b1" not in issuer.last.active.values()
    assert "b1" in issuer.ledger.revoked
    assert dict(issuer.live(WAIT * 3).active)["ES256"] == "a1"
    assert "b1" not in issuer.published()


@pytest.mark.parametrize("offered", orders(MISTAKE, KEYS[1]))
def test_a_new_key_is_not_held_up_by_its_id_on_the_wrong_list(offered: tuple[OfferedKey, ...]) -> None:
    issuer = Issuer(key("a1", "a"), order=("a", "b"))
    issuer.live(WAIT)
    issuer.offered = (key("a1", "a"), *offered)
    issuer.live(WAIT * 3)
    assert dict(issuer.last.active) == {"ES256": "a1", "RS256": "b1"}


def test_a_key_that_moved_to_another_signing_key_is_revoked_by_that_one() -> None:
    issuer = Issuer(key("k1", "old"), key("r1", "other", "RS256"), order=("old", "other"))
    issuer.live(WAIT)
    issuer.spec = replace(issuer.spec, order=("new", "other"))
    issuer.offered = (key("k1", "new"), key("r1", "other", "RS256"))
    assert dict(issuer.live(WAIT).active) == {"ES256": "k1", "RS256": "r1"}
    issuer.offered = (key("k1", "new", wanted=False, private=False, revoked=True), key("r1", "other", "RS256"))
    issuer.step()
    assert issuer.published() == ["r1"]


def test_a_key_whose_signing_key_is_unreadable_stays_at_hand_although_its_id_is_on_another_list() -> None:
    issuer = running()
    offered = (key("a1", "a"), MISTAKE)
    kept = {offer.kid: offer for offer in remembered(issuer.ledger, offered, {"a1", "b1"}) if not offer.revoked}
    assert kept["b1"].private
