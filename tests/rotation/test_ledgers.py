"""A ledger is read exactly as it was written, or not at all; what a Secret offers is only what is intact."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fakes.context import FakeEntropy
from tailseal.domain.keys import public
from tailseal.domain.rotation import IssuedKey, IssuerLedger, LedgerError, OfferedKey, offers, remembered
from tailseal.domain.rotation.signingkey.ledger import SigningKeyLedger
from tailseal.domain.rotation.signingkey.plan import NewKey, Schedule, Wish, plan, with_key

SCHEDULE = Schedule(
    algorithm="ES256", rsa_bits=3072, interval=2_592_000, publish_lead=86_400, max_age=300, clock_skew=60
)
ISSUED = IssuedKey(
    kid="k1", alg="ES256", source="corp", public_jwk={"kid": "k1", "kty": "EC"}, published_at=1.5, max_age=300,
    set_age=300, clock_skew=60, longest_ttl=600, last_without=2.5, sign_until=9.0, held=True,
)  # fmt: skip
LEDGER = IssuerLedger(keys=(ISSUED,), active={"ES256": "k1"}, default_algorithm="ES256", revoked={"k0": 1.0})


def test_a_ledger_survives_the_way() -> None:
    assert IssuerLedger.from_json(LEDGER.to_json()) == LEDGER
    assert IssuerLedger.from_json(LEDGER.to_json()).to_json() == LEDGER.to_json()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"version": 2}, "version"),
        ({"surprise": 1}, "surprise"),
        ({"active": {"ES256": 7}}, "active.ES256"),
        ({"keys": [{"kid": "k1"}]}, "keys.0.alg"),
        ({"revoked": {"k0": "yesterday"}}, "revoked.k0"),
    ],
)
def test_a_ledger_that_is_not_understood_is_refused(change: dict[str, Any], where: str) -> None:
    content = json.loads(LEDGER.to_json()) | change
    with pytest.raises(LedgerError, match=where):
        IssuerLedger.from_json(json.dumps(content))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", LEDGER.to_json()[:-20], b'{"revoked":{"k":NaN}}'])
def test_a_broken_ledger_is_refused(content: bytes) -> None:
    with pytest.raises(LedgerError):
        IssuerLedger.from_json(content)


def test_what_stood_in_a_broken_ledger_is_not_repeated() -> None:
    content = json.loads(LEDGER.to_json()) | {"defaultAlgorithm": {"hunter2": 1}}
    with pytest.raises(LedgerError) as caught:
        IssuerLedger.from_json(json.dumps(content))
    assert "hunter2" not in str(caught.value)


async def made(count: int = 2) -> tuple[SigningKeyLedger, dict[str, bytes]]:
    entropy, pems = FakeEntropy(), {}
    ledger = SigningKeyLedger(schedule=SCHEDULE)
    for _ in range(count):
        pem = await entropy.private_key("ES256", 0)
        jwk = public.public_jwk(pem, "ES256")
        pems[jwk["kid"]] = pem
        ledger = with_key(ledger, NewKey("ES256", None), jwk, 1000.0)
    return plan(Wish(SCHEDULE), ledger, frozenset(pems), (), 1000.0).ledger, pems


def secret(ledger: SigningKeyLedger | None, pems: dict[str, bytes], **data: bytes) -> dict[str, Any]:
    files = {f"{kid}.pem": pem for kid, pem in pems.items()} | data
    if ledger is not None:
        files["ledger.json"] = ledger.to_json()
    labels = {"app.kubernetes.io/managed-by": "tailseal", "tailseal.dev/signing-key": "corp"}
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    return {"metadata": {"name": "corp-signingkey", "labels": labels}, "data": encoded}


async def test_a_secret_offers_its_keys_with_their_material() -> None:
    ledger, pems = await made()
    offered = offers(secret(ledger, pems))
    assert offered.pems == pems
    assert [key.wanted for key in offered.keys].count(True) == 1
    assert all(key.private and not key.revoked and key.source == "corp" for key in offered.keys)
    assert "PRIVATE" not in repr(offered)


async def test_damaged_material_is_not_offered_as_private() -> None:
    ledger, pems = await made()
    first, second = pems
    swapped = {first: pems[second], second: b"garbage"}
    offered = offers(secret(ledger, swapped))
    assert not offered.pems
    assert not any(key.private for key in offered.keys)


def test_a_shell_offers_nothing() -> None:
    assert offers(secret(None, {})).keys == ()


async def test_material_without_a_ledger_is_an_error_and_so_is_a_foreign_secret() -> None:
    ledger, pems = await made()
    with pytest.raises(LedgerError, match=r"no ledger\.json"):
        offers(secret(None, pems))
    foreign = secret(ledger, pems)
    del foreign["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    with pytest.raises(LedgerError, match="not a SigningKey's"):
        offers(foreign)


async def test_revoked_ids_are_offered_as_revoked_known_or_not() -> None:
    ledger, pems = await made()
    signer = ledger.signer()
    assert signer is not None
    revoked = plan(Wish(SCHEDULE, revoked=frozenset({signer.kid, "unknown"})), ledger, frozenset(pems), (), 1001.0)
    offered = {key.kid: key for key in offers(secret(revoked.ledger, pems)).keys}
    assert offered[signer.kid].revoked
    assert offered["unknown"].revoked
    assert signer.kid not in offers(secret(revoked.ledger, pems)).pems


def offer(kid: str, *, private: bool = True) -> OfferedKey:
    return OfferedKey(
        kid, "ES256", {}, "corp", 1.0, wanted=True, revoked=False, max_age=1, clock_skew=1, private=private
    )


def test_what_only_the_issuer_still_knows_is_remembered() -> None:
    assert [(key.kid, key.superseded) for key in remembered(LEDGER, (), {"k1"})] == [("k1", False)]
    assert [key.kid for key in remembered(LEDGER, (), ())] == []
    followed = remembered(LEDGER, (offer("k2"),), {"k1"})
    assert [(key.kid, key.superseded) for key in followed] == [("k2", False), ("k1", True)]
    damaged = remembered(LEDGER, (offer("k1", private=False),), {"k1"})
    assert [(key.kid, key.private) for key in damaged] == [("k1", True)]
