"""A folder of manifests and a foreign issuer's token, as the commands are given them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from fakes.manifests import CLAIMS


@pytest.fixture(scope="session")
def key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def jwk(key: ed25519.Ed25519PrivateKey) -> dict[str, Any]:
    public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
    return {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "alg": "EdDSA", "x": public["x"]}


@pytest.fixture
def sign(key: ed25519.Ed25519PrivateKey) -> Callable[..., str]:
    def make(**claims: object) -> str:
        content = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
        return jwt.encode(content, key, "EdDSA", headers={"kid": "k1"})

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes manifests into a folder of their own, one file each."""

    def write(**files: str) -> Path:
        place = tmp_path / "manifests"
        place.mkdir(exist_ok=True)
        for name, content in files.items():
            (place / f"{name}.yaml").write_text(content)
        return place

    return write
