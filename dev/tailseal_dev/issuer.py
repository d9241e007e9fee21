"""A foreign OIDC issuer on loopback, shaped like GitHub Actions: for demos, tests, and trying a policy by hand.

`python -m tailseal_dev.issuer` serves discovery and keys, and gives a job's token at `/token?audience=…`.
Anybody who reaches it gets any token: never run it where something trusts it that matters.
"""

from __future__ import annotations

import argparse
import json
import secrets
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tailseal_dev.pki import Authority, Pair

LIFETIME: Final = 300
"""Seconds that a job's token lives, as GitHub's do."""

REPOSITORY: Final = "octo-org/shop"
SUBJECT: Final = f"repo:{REPOSITORY}:ref:refs/heads/main"


class Issuer:
    """Discovery, JWKS and tokens (RS256) of one foreign issuer, served by a thread while the context is open.

    Args:
        host: a loopback address.
        port: 0 lets the system choose.
        authority: for https; None: plain http.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, authority: Authority | None = None) -> None:
        self._server = _Server((host, port), self)
        self._scheme = "http"
        if authority is not None:
            self._scheme = "https"
            self._server.socket = _context(authority.server((host,))).wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.asked: list[str] = []
        """Paths in the order in which they were asked for."""
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self.rotate()

    @property
    def url(self) -> str:
        """The issuer: `iss` of its tokens."""
        return f"{self._scheme}://{self._server.server_address[0]!s}:{self._server.server_address[1]}"

    @property
    def jwks_uri(self) -> str:
        """Where its keys are."""
        return f"{self.url}/.well-known/jwks"

    @property
    def jwks(self) -> dict[str, Any]:
        """Its keys."""
        return {"keys": [_jwk(kid, key) for kid, key in self._keys.items()]}

    def rotate(self) -> str:
        """Begin to sign with another key, keeping the former ones published; its id."""
        kid = secrets.token_hex(8)
        self._keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return kid

    def token(self, audience: str, **claims: object) -> str:
        """The token of a job; claims given here replace the usual ones, None removes one."""
        kid, key = list(self._keys.items())[-1]
        content = {**job_claims(), "iss": self.url, "aud": audience, **claims}
        present = {name: value for name, value in content.items() if value is not None}
        return jwt.encode(present, key, algorithm="RS256", headers={"kid": kid})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """The document at a path, or None."""
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.url,
                "jwks_uri": self.jwks_uri,
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        if path == "/.well-known/jwks":
            return self.jwks
        if path == "/token":
            return {"value": self.token(query.get("audience", ""), sub=query.get("subject", SUBJECT))}
        return None


def job_claims(now: float | None = None) -> dict[str, Any]:
    """What GitHub says of a push to the main branch."""
    issued = int(time.time() if now is None else now)
    owner, _, name = REPOSITORY.partition("/")
    return {
        "sub": SUBJECT,
        "iat": issued,
        "nbf": issued - 5,
        "exp": issued + LIFETIME,
        "jti": secrets.token_hex(16),
        "repository": REPOSITORY,
        "repository_id": "74",
        "repository_owner": owner,
        "repository_owner_id": "65",
        "repository_visibility": "private",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "ref_protected": "true",
        "sha": "f66a9e2f6f6c1d4c7d7c3a1b0f3e9d8c7b6a5f4e",
        "workflow": "deploy",
        "job_workflow_ref": f"{owner}/{name}/.github/workflows/deploy.yml@refs/heads/main",
        "event_name": "push",
        "actor": "octocat",
        "actor_id": "12",
        "run_id": "8812",
        "run_number": "10",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], issuer: Issuer) -> None:
        super().__init__(address, _Handler)
        self.issuer = issuer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses our certificate is not our fault."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with a document."""
        parts = urlsplit(self.path)
        document = self.server.issuer.answer(parts.path, dict(parse_qsl(parts.query)))
        body = json.dumps(document or {"error": "not_found"}).encode()
        self.send_response(200 if document else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Be quiet."""


def _jwk(kid: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    members: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": members["n"], "e": members["e"]}


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*pair.write(Path(folder), "issuer"))
    return context


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tailseal_dev.issuer", description=__doc__)
    parser.add_argument("--port", type=int, default=8081)
    arguments = parser.parse_args()
    with Issuer(port=arguments.port) as issuer:
        print(f"issuer  {issuer.url}")
        print(f"token   curl '{issuer.url}/token?audience=http://127.0.0.1:8080'")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
