"""What is exchanged: 50 issuers, 1,000 policies, and CI-shaped tokens that are all different."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tailseal.domain import canonical
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import SIGNING_FILE, HeldKey, PolicyRecord, Settings, Signing
from tailseal.tokens.algorithms import ALGORITHMS
from tailseal.tokens.compact import encode
from tailseal.tokens.request import GRANT_TYPE

ISSUERS: Final = 50
POLICIES: Final = 1000
TARGET: Final = "https://api.bench.example"
ISSUER: Final = "https://idp.bench.example"

SETTINGS: Final = Settings(
    issuer=ISSUER,
    namespace="bench",
    name="bench",
    token_endpoint=f"{ISSUER}/token",
    subject_audiences=(ISSUER,),
)


def public_jwk(key: Any, kid: str, alg: str) -> dict[str, Any]:  # noqa: ANN401 - private keys share no base
    """The public JWK of a private key."""
    found: dict[str, Any] = ALGORITHMS[alg].to_jwk(key.public_key(), as_dict=True)
    found.pop("key_ops", None)
    return found | {"kid": kid, "alg": alg, "use": "sig"}


@dataclass(frozen=True)
class Workload:
    """Keys, policies and tokens of one run.

    Args:
        count: how many different tokens.
        alg: what we sign with.
    """

    count: int
    alg: str = "ES256"
    foreign: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    ours: Any = None

    def __post_init__(self) -> None:
        made: Any = (
            ec.generate_private_key(ec.SECP256R1()) if self.alg == "ES256" else rsa.generate_private_key(65537, 2048)
        )
        object.__setattr__(self, "ours", self.ours or made)

    def records(self) -> list[PolicyRecord]:
        """The policies, the same number for each issuer, which brings its keys along."""
        keys = [public_jwk(self.foreign, "f1", "RS256")]
        return [_record(number, keys) for number in range(POLICIES)]

    def bodies(self) -> Iterator[bytes]:
        """Forms, each with a token of its own, spread over issuers and policies, for ever."""
        bodies = [self._body(number) for number in range(self.count)]
        return itertools.cycle(bodies)

    def _body(self, number: int) -> bytes:
        fields = {
            "grant_type": GRANT_TYPE,
            "subject_token": self.token(number).decode(),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "audience": TARGET,
        }
        return urlencode(fields).encode()

    def token(self, number: int) -> bytes:
        """A token of 23 claims, as a CI system makes them."""
        header = encode(b'{"typ":"JWT","alg":"RS256","kid":"f1"}')
        signing_input = header + b"." + encode(orjson.dumps(_claims(number)))
        signature = self.foreign.sign(signing_input, padding.PKCS1v15(), hashes.SHA256())
        return signing_input + b"." + encode(signature)

    def signing(self) -> dict[str, bytes]:
        """Files of the volume `signing`."""
        pem: bytes = self.ours.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        signing = Signing(
            issuer=ISSUER,
            held=(HeldKey(kid="k1", alg=self.alg, file="k1.pem", sign_until=time.time() + 86_400),),
            active={self.alg: "k1"},
            default_algorithm=self.alg,
            jwks={"keys": [public_jwk(self.ours, "k1", self.alg)]},
            max_age=300,
            max_token_ttl=3600,
            status_key=encode(b"k" * 32).decode(),
        )
        return {SIGNING_FILE: canonical.dumps(signing.document()), "k1.pem": pem}

    def write(self, directory: Path) -> Path:
        """The whole bundle, as a worker mounts it."""
        shards = build.shards(self.records())
        volumes = {
            "signing": self.signing(),
            "policies": build.policies_volume(SETTINGS, shards.files),
            "credentials": {},
        }
        for volume, files in volumes.items():
            (directory / volume).mkdir(parents=True)
            for name, content in files.items():
                (directory / volume / name).write_bytes(content)
        return directory


def _issuer(number: int) -> str:
    return f"https://ci-{number % ISSUERS}.bench.example"


def _record(number: int, keys: Sequence[dict[str, Any]]) -> PolicyRecord:
    spec = {
        "identityProviderRef": {"name": "bench"},
        "from": {
            "oidc": {
                "issuer": _issuer(number),
                "keys": {"jwks": {"keys": json.loads(json.dumps(keys))}},
                "subject": {"glob": f"repo:acme/app-{number}:ref:refs/heads/*"},
                "claims": [{"claim": "repository_id", "exact": str(number)}],
            }
        },
        "grants": [{"name": "api", "jwt": {"audiences": [TARGET], "scopes": ["read"]}}],
    }
    return PolicyRecord(namespace="bench", name=f"p{number}", uid=f"u{number}", generation=1, spec=spec)


def _claims(number: int) -> dict[str, object]:
    policy, now = number % POLICIES, int(time.time())
    return {
        "iss": _issuer(policy),
        "sub": f"repo:acme/app-{policy}:ref:refs/heads/main",
        "aud": ISSUER,
        "exp": now + 7200,
        "nbf": now - 60,
        "iat": now - 60,
        "jti": f"{number:032x}",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "ref_protected": "true",
        "sha": f"{number:040x}",
        "repository": f"acme/app-{policy}",
        "repository_id": str(policy),
        "repository_owner": "acme",
        "repository_owner_id": "1234567",
        "repository_visibility": "private",
        "run_id": f"{9_000_000_000 + number}",
        "run_number": str(number),
        "run_attempt": "1",
        "actor": "octocat",
        "workflow": "release",
        "event_name": "push",
        "runner_environment": "github-hosted",
    }
