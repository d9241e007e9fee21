"""Real caches of a key set, as they come: each says of a token whether it verifies, by the keys it happens to hold."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx
import jwt

from tailseal_dev.cache.npm import installed
from tailseal_dev.demo import caller
from tailseal_dev.demo.manifests import AUDIENCE

UNREACHABLE = "unreachable"
"""The verdict of a verifier that had to fetch and could not: the network's fault, or that of a frozen replica."""

_PATIENCE = 5.0


class Verifier(Protocol):
    """One cache."""

    name: str

    def verdict(self, token: str) -> str:
        """Empty if the token verifies, `UNREACHABLE`, or else the name of the failure."""
        ...


class Obedient:
    """Keeps a set for exactly as long as Cache-Control says, and never asks sooner, whatever it does not know.

    Args:
        issuer: its URL.
        trusted: what its certificate is checked with.
    """

    name = "obedient cache, never refetches early"

    def __init__(self, issuer: str, trusted: ssl.SSLContext) -> None:
        self._issuer = issuer
        self._client = httpx.Client(verify=trusted, timeout=_PATIENCE, trust_env=False)
        self._jwks: Mapping[str, Any] = {}
        self._until = 0.0

    def verdict(self, token: str) -> str:
        """See `Verifier`."""
        try:
            self._refresh()
        except httpx.HTTPError:
            return UNREACHABLE
        try:
            caller.verify(token, self._jwks, issuer=self._issuer, audience=AUDIENCE)
        except jwt.PyJWTError as error:
            return type(error).__name__
        return ""

    def _refresh(self) -> None:
        if time.monotonic() < self._until:
            return
        asked = time.monotonic()
        answer = self._client.get(f"{self._issuer}/.well-known/jwks.json").raise_for_status()
        found = re.search(r"max-age=(\d+)", answer.headers["cache-control"])
        self._jwks, self._until = answer.json(), asked + (int(found[1]) if found else 0)


class PyJWKClient:
    """PyJWT's client with its defaults.

    Args:
        issuer: its URL.
        trusted: what its certificate is checked with.
    """

    name = "PyJWT's PyJWKClient"

    def __init__(self, issuer: str, trusted: ssl.SSLContext) -> None:
        self._issuer = issuer
        self._client = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json", ssl_context=trusted, timeout=int(_PATIENCE))

    def verdict(self, token: str) -> str:
        """See `Verifier`."""
        try:
            key = self._client.get_signing_key_from_jwt(token)
            jwt.decode(token, key, algorithms=[str(key.algorithm_name)], issuer=self._issuer, audience=AUDIENCE)
        except jwt.PyJWKClientConnectionError:
            return UNREACHABLE
        except jwt.PyJWTError as error:
            return type(error).__name__
        return ""


class Jose:
    """npm jose's `createRemoteJWKSet` with its defaults, in a process of its own.

    Args:
        url: where the issuer serves.
        authority: file of the certificate that vouches for it.
        issuer: `iss` of its tokens, where that is another.
        audience: `aud` of its tokens.

    Raises:
        BuildError: there is no Node.js here.
    """

    name = "npm jose's createRemoteJWKSet"
    _NETWORK = frozenset({"ERR_JWKS_TIMEOUT", "ECONNREFUSED", "ECONNRESET", "TypeError"})

    def __init__(self, url: str, authority: Path, *, issuer: str = "", audience: str = AUDIENCE) -> None:
        arguments = ["node", "verifier.mjs", f"{url}/.well-known/jwks.json", issuer or url, audience]
        self._process = subprocess.Popen(
            arguments,
            cwd=installed("jose"),
            env={"NODE_EXTRA_CA_CERTS": str(authority), "PATH": "/usr/local/bin:/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def verdict(self, token: str) -> str:
        """See `Verifier`."""
        assert self._process.stdin is not None  # noqa: S101 - both were asked for
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps({"id": 0, "token": token}) + "\n")
        self._process.stdin.flush()
        code = str(json.loads(self._process.stdout.readline())["code"])
        return UNREACHABLE if code in self._NETWORK else code

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class KubeApiServer:
    """The authenticator of a kube-apiserver that trusts the issuer.

    Args:
        server: its URL.
        authority: file of the certificate that vouches for it.
    """

    name = "kube-apiserver's authenticator"

    def __init__(self, server: str, authority: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        self._client = httpx.Client(base_url=server, verify=context, timeout=_PATIENCE, trust_env=False)

    def verdict(self, token: str) -> str:
        """See `Verifier`."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        try:
            answer = self._client.post(path, json=review, headers={"authorization": f"Bearer {token}"})
        except httpx.HTTPError:
            return UNREACHABLE
        return "" if answer.status_code == httpx.codes.CREATED else str(answer.status_code)
