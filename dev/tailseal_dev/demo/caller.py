"""A caller of the token service and a verifier of its tokens: sees only what any program on the network sees."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import jwt

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"

_PATIENCE: Final = httpx.Timeout(60.0, connect=15.0)
"""A busy machine answers late; a pod that is gone never does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the token endpoint said, and how long it took in seconds."""

    status: int
    content: Mapping[str, Any]
    seconds: float

    @property
    def token(self) -> str:
        """The issued token, empty if there is none."""
        return str(self.content.get("access_token", ""))

    @property
    def reason(self) -> str:
        """The stable word for a refusal, empty if granted."""
        return str(self.content.get("tailseal_reason", ""))


class Caller:
    """Talks https to one issuer.

    Args:
        issuer: its URL.
        ca: certificate file that vouches for it.
    """

    def __init__(self, issuer: str, ca: Path) -> None:
        self.issuer = issuer
        self._context = ssl.create_default_context(cafile=str(ca))
        self._client = httpx.Client(verify=self._context, timeout=_PATIENCE, trust_env=False)
        self._replicas = ssl.create_default_context(cafile=str(ca))
        self._replicas.check_hostname = False  # a replica is asked by its address, which no certificate names

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def exchange(self, subject_token: str, **parameters: str) -> Answer:
        """One token exchange (RFC 8693)."""
        return self._exchange(self._client, self.issuer, subject_token, parameters)

    def exchange_at(self, address: str, subject_token: str, **parameters: str) -> Answer:
        """The same, at one replica's own address."""
        with httpx.Client(verify=self._replicas, timeout=_PATIENCE, trust_env=False) as client:
            return self._exchange(client, f"https://{address}", subject_token, parameters)

    def _exchange(self, client: httpx.Client, url: str, subject_token: str, parameters: Mapping[str, str]) -> Answer:
        form = {
            "grant_type": GRANT_TYPE,
            "subject_token": subject_token,
            "subject_token_type": JWT_TYPE,
            **parameters,
        }
        started = time.monotonic()
        answer = client.post(f"{url}/token", data=form)
        return Answer(answer.status_code, answer.json(), time.monotonic() - started)

    def metadata(self) -> Mapping[str, Any]:
        """The issuer's discovery document."""
        document: Mapping[str, Any] = self._get(f"{self.issuer}/.well-known/openid-configuration")
        return document

    def jwks(self) -> Mapping[str, Any]:
        """The issuer's key set, found as a verifier finds it."""
        document: Mapping[str, Any] = self._get(f"{self.issuer}/.well-known/jwks.json")
        return document

    def jwks_of_replica(self, address: str) -> set[str]:
        """Key ids that one replica serves, asked at its own address."""
        answer = httpx.get(
            f"https://{address}/.well-known/jwks.json", verify=self._replicas, timeout=_PATIENCE, trust_env=False
        )
        return kids(answer.raise_for_status().json())

    def _get(self, url: str) -> Any:  # noqa: ANN401 - what JSON holds
        return self._client.get(url).raise_for_status().json()


def kids(jwks: Mapping[str, Any]) -> set[str]:
    """The key ids in a key set."""
    return {str(key["kid"]) for key in jwks["keys"]}


def kid_of(token: str) -> str:
    """The id of the key that signed a token."""
    return str(jwt.get_unverified_header(token)["kid"])


def verify(token: str, jwks: Mapping[str, Any], *, issuer: str, audience: str) -> Mapping[str, Any]:
    """The claims of a token whose signature, times, issuer and audience hold.

    Raises:
        jwt.PyJWTError: they do not.
    """
    key = next((key for key in jwt.PyJWKSet.from_dict(dict(jwks)).keys if key.key_id == kid_of(token)), None)
    if key is None:
        raise jwt.InvalidKeyError(f"no key {kid_of(token)} in the key set")
    claims: Mapping[str, Any] = jwt.decode(
        token, key, algorithms=[str(key.algorithm_name)], issuer=issuer, audience=audience
    )
    return claims
