"""What a SigningKey learns from an issuer's ledger: of its own keys only, who signs, who waits, and who leaves when."""

from __future__ import annotations

from typing import Any

import pytest

from tailseal.domain.rotation import IssuedKey, IssuerLedger
from tailseal.domain.rotation.signingkey.plan import Usage
from tailseal.domain.rotation.usage import usage_of


def issued(kid: str = "k1", source: str = "corp", **changes: Any) -> IssuedKey:  # noqa: ANN401 - any of its fields
    fields = {
        "alg": "ES256",
        "public_jwk": {"kid": kid},
        "published_at": 100.0,
        "max_age": 300,
        "set_age": 300,
        "clock_skew": 60,
        "longest_ttl": 600,
        "last_without": 110.0,
        "sign_until": 5000.0,
    }
    return IssuedKey.model_validate({"kid": kid, "source": source, **fields, **changes})


def used(key: IssuedKey, **active: str) -> Usage:
    return usage_of(IssuerLedger(keys=(key,), active=active), "corp")["k1"]


def test_keys_of_other_signing_keys_are_nobodys_business() -> None:
    ledger = IssuerLedger(keys=(issued("k1"), issued("k2", source="other")))
    assert set(usage_of(ledger, "corp")) == {"k1"}


def test_a_key_that_should_sign_and_may_not_yet_is_said_to_wait() -> None:
    assert used(issued(wanted_since=120.0)).waiting
    assert not used(issued()).waiting


@pytest.mark.parametrize(("behind", "served_at"), [(None, None), (("pod-1",), None), ((), 110.0)])
def test_a_key_is_served_once_no_replica_is_behind(behind: tuple[str, ...] | None, served_at: float | None) -> None:
    assert used(issued(behind=behind)).served_at == served_at


def test_a_broken_overlap_is_told_while_the_key_signs() -> None:
    broken = issued(overlap_broken=True, activated_at=130.0)
    assert used(broken, ES256="k1") == Usage(None, active=True, activated_at=130.0, overlap_broken=True)
    assert not used(broken).overlap_broken


def test_a_key_leaves_when_its_last_token_and_every_cache_are_over() -> None:
    left = issued(activated_at=130.0, dropped_at=900.0, stopped_at=950.0)
    assert used(left).remove_at == 950.0 + 600 + 60 + 300
