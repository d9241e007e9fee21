"""A token service whose tokens a kube-apiserver may trust, and kubectl with our credential plugin at both."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from fakes import bundles, exchange, jobs
from fakes.exchange import SETTINGS, jwk, record, rsa_key
from tailseal.domain.bundle.model import Bound, PolicyRecord
from tailseal_dev import process
from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.pki import Authority
from tailseal_dev.ports import free_ports

AUDIENCE = "k8s-prod"
SOURCES = Path(__file__).parents[2] / "operator"
PROVIDER = """\
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: corp, namespace: identity}}
spec:
  issuer: {issuer}
  signingKeys: [{{name: corp}}]
"""
KEYS = {"jwks": {"keys": [jwk(rsa_key("foreign"), "f1", "RS256")]}}
GHES = "https://ghes.corp.example/_services/token"


def policy(name: str, owner: str, jwt: dict[str, Any]) -> PolicyRecord:
    github = {"issuer": GHES, "keys": KEYS, "ownerID": owner}
    grant = {"name": "kubernetes", "jwt": {"audiences": [AUDIENCE], "ttl": "10m", "scopes": ["deploy"]} | jwt}
    provider = {"name": "corp", "namespace": "identity"}
    return record({"identityProviderRef": provider, "from": {"github": github}, "grants": [grant]}, name=name)


GROUPED = {"claims": [{"name": "groups", "string": "claims.event_name == 'push' ? 'deployers' : 'readers'"}]}
POLICIES = [
    policy("deployers", "65", GROUPED),
    policy("strangers", "66", {}),
    policy("short", "67", {"ttl": "30s"}),
    policy("long", "68", {"ttl": "1h"}),
    policy("bound", "69", {"requireDPoP": True}),
]
BOUND = Bound(
    name="clusters",
    namespaces=("identity",),
    issuers=(GHES,),
    key_sources=("JWKS",),
    audiences=(AUDIENCE,),
    jwt_claims=("groups",),
    max_ttl=3600,
)


@dataclass(frozen=True)
class Login:
    """A kube-apiserver that trusts a token service, and what runs kubectl against it."""

    plane: ControlPlane
    endpoint: str
    authority: Path
    folder: Path

    def job(self, owner: str = "65", **claims: Any) -> Path:  # noqa: ANN401 - as tokens have it
        now = int(time.time())
        content = jobs.github(iss=GHES, repository_owner_id=owner, iat=now - 5, nbf=now - 5, exp=now + 300, **claims)
        path = self.folder / f"token-{owner}-{len(claims)}"
        path.write_text(exchange.token(content | {"aud": exchange.OURS} | claims) + "\n")
        return path

    def arguments(self, *more: str) -> list[str]:
        return [
            *("kubectl-credential", "--token-endpoint", self.endpoint, "--audience", AUDIENCE),
            *("--certificate-authority", str(self.authority), *more),
        ]

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(SOURCES), **more}

    def kubectl(self, *arguments: str, plugin: tuple[str, ...], **environment: str) -> tuple[int, str, str]:
        config = yaml.safe_load(self.plane.kubeconfig.read_text())
        run: dict[str, Any] = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable}
        run |= {"args": ["-m", "tailseal", *self.arguments(*plugin)], "interactiveMode": "IfAvailable"}
        config["users"] = [{"name": "dev", "user": {"exec": run}}]
        path = self.folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        argv = [str(self.plane.programs / "kubectl"), f"--kubeconfig={path}", *arguments]
        result = subprocess.run(
            argv, env=self.environment(**environment), capture_output=True, text=True, check=False, timeout=120
        )
        return result.returncode, result.stdout, result.stderr

    def whoami(self, *plugin: str) -> dict[str, Any]:
        code, printed, said = self.kubectl("auth", "whoami", "-o", "json", plugin=plugin)
        assert code == 0, said
        found: dict[str, Any] = json.loads(printed)["status"]["userInfo"]
        return found

    def plugin(self, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tailseal", *self.arguments(*more)],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@contextlib.contextmanager
def token_service(folder: Path) -> Iterator[tuple[str, Path]]:
    """A token service over https: its issuer, and who vouches for it."""
    (serving, management) = free_ports(2)
    issuer = f"https://127.0.0.1:{serving}"
    settings = SETTINGS.model_copy(
        update={"issuer": issuer, "token_endpoint": f"{issuer}/token", "bounds": (BOUND,), "state": "Postgres"}
    )
    lease = [{"kid": "k1", "alg": "ES256", "file": "k1.pem", "signUntil": time.time() + 86_400}]
    mounted = bundles.Mounted(folder / "bundle")
    mounted.project("signing", bundles.signing(held=lease, issuer=issuer))
    mounted.project("policies", bundles.policies(*POLICIES, settings=settings))
    mounted.project("credentials", {})
    authority = Authority()
    (folder / "ca.crt").write_bytes(authority.certificate)
    authority.server().write(folder / "tls", "tls")
    command = [sys.executable, "-m", "tailseal", "sts", "--bundle", str(folder / "bundle")]
    command += ["--listen", f"127.0.0.1:{serving}", "--management", f"127.0.0.1:{management}"]
    running = process.start([*command, "--tls", str(folder / "tls")], folder / "log")
    try:
        _await(f"http://127.0.0.1:{management}/readyz")
        yield issuer, folder / "ca.crt"
    finally:
        process.stop(running, grace=5)


def _await(url: str) -> None:
    for _ in range(2400):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")
