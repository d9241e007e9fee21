"""Real keys are of the kind that was asked for, and real time passes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tailseal.runtime.clock import SystemClock, SystemEntropy


@pytest.mark.parametrize(
    ("algorithm", "kind", "size"),
    [
        ("ES256", ec.EllipticCurvePrivateKey, 256),
        ("ES384", ec.EllipticCurvePrivateKey, 384),
        ("RS256", rsa.RSAPrivateKey, 2048),
        ("PS256", rsa.RSAPrivateKey, 2048),
        ("EdDSA", ed25519.Ed25519PrivateKey, 0),
    ],
)
async def test_a_key_is_of_the_kind_that_was_asked_for(algorithm: str, kind: type, size: int) -> None:
    made = await SystemEntropy().private_key(algorithm, 2048)
    assert made.startswith(b"-----BEGIN PRIVATE KEY-----")
    key = load_pem_private_key(made, None)
    assert isinstance(key, kind)
    assert getattr(key, "key_size", 0) == size


async def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="HS256"):
        await SystemEntropy().private_key("HS256", 2048)


def test_tokens_are_as_long_as_wanted_and_time_is_unix_time() -> None:
    assert len(SystemEntropy().token(32)) == 32
    assert SystemClock().now() > 1_700_000_000
