"""The bundle that an operator would render from a folder of manifests, for workers that run beside real nodes."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tailseal.domain import canonical
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import SIGNING_FILE, HeldKey, Signing
from tailseal.domain.keys import public
from tailseal.workers.embedded import manifests
from tailseal.workers.embedded.household import Reader
from tailseal_dev.tailnet.headscale import TailnetError
from tailseal_dev.tailnet.provider import Volumes

_DAY: Final = 86_400


def volumes(folder: Path, *, open_hosts: Sequence[str] = (), extra_ca: str = "") -> Volumes:
    """The volumes of the one provider in the folder.

    Args:
        folder: with manifests.
        open_hosts: hosts beyond the public internet that may be reached.
        extra_ca: PEM certificates to trust beside the system's.

    Raises:
        TailnetError: a manifest is not accepted; says which and why.
    """
    household = Reader(open_hosts).read(manifests.read(folder))
    if household.problems or household.settings is None:
        raise TailnetError("\n".join(map(str, household.problems)) or "there is no IdentityProvider")
    settings = household.settings.model_copy(update={"extra_ca": extra_ca})
    shards, clients = build.shards(household.records).files, build.clients(household.clients.usable)[0]
    return {
        "signing": _signing(settings.issuer),
        "policies": build.policies_volume(settings, shards, clients),
        "credentials": household.credentials,
    }


def _signing(issuer: str) -> dict[str, bytes]:
    """A key for ID tokens and one for all else, as if they had been published long ago."""
    made: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
    }
    pems = {alg: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for alg, key in made.items()}
    jwks = {alg: public.public_jwk(pem, alg) for alg, pem in pems.items()}
    held = [
        HeldKey(kid=jwk["kid"], alg=alg, file=f"{alg}.pem", sign_until=time.time() + _DAY) for alg, jwk in jwks.items()
    ]
    signing = Signing(
        issuer=issuer,
        held=tuple(held),
        active={alg: jwk["kid"] for alg, jwk in jwks.items()},
        default_algorithm="ES256",
        jwks={"keys": list(jwks.values())},
        max_age=300,
        max_token_ttl=3600,
        status_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode(),
    )
    return {SIGNING_FILE: canonical.dumps(signing.document())} | {f"{alg}.pem": pem for alg, pem in pems.items()}
