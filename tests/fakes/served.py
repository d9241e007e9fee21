"""`tailseal serve` as a program with a folder of clients, and with people whom a table of callers makes up."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from tailseal_dev.ports import free_ports
from tailseal_dev.process import start, stop

PROGRAM: Final = str(Path(sys.executable).with_name("tailseal"))
SECRET: Final = "0123456789abcdef" * 2
EVERYBODY: Final = {"users": ["*@corp.example"]}
DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
CALLERS: Final[list[dict[str, Any]]] = [
    {
        "login": "ana@corp.example",
        "name": "Ana",
        "capabilities": {"tailseal.dev/cap/idp": [{"v": 1, "allow": [{"action": ["*"], "resource": ["*"]}]}]},
    },
    *(
        {
            "login": f"person{number}@corp.example",
            "capabilities": {"tailseal.dev/cap/idp": [{"v": 1, "allow": [{"action": ["*"], "resource": ["*"]}]}]},
        }
        for number in range(2, 9)
    ),
]

_PATIENCE: Final = 180


def provider(base: str, **spec: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as manifests have it
    """A provider with a key for RS256 and one for ES256."""
    keys = [
        _object("SigningKey", name, {"algorithm": algorithm}) for name, algorithm in (("rs", "RS256"), ("es", "ES256"))
    ]
    members = {"issuer": base, "signingKeys": [{"name": "es"}, {"name": "rs"}]}
    return [*keys, _object("IdentityProvider", "idp", members | spec)]


def client(name: str, **spec: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """A client of that id (`clientID=None`: as usual); with a secret, unless the spec says how else it is proven."""
    members = {"identityProviderRef": {"name": "idp"}, "clientID": name, "allow": EVERYBODY} | spec
    members = {member: value for member, value in members.items() if value is not None}
    if spec.get("type") == "Public" or spec.get("authMethod") == "private_key_jwt":
        return [_object("OAuthClient", name, members)]
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{name}-secret", "labels": {"tailseal.dev/allow": "true"}},
        "data": {"client_secret": base64.b64encode(SECRET.encode()).decode()},
    }
    return [_object("OAuthClient", name, members | {"secretRef": {"name": f"{name}-secret"}}), secret]


def policy(name: str, source: dict[str, Any], grants: list[dict[str, Any]]) -> dict[str, Any]:
    """A TrustPolicy of the provider."""
    return _object("TrustPolicy", name, {"identityProviderRef": {"name": "idp"}, "from": source, "grants": grants})


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "tailseal.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@contextmanager
def serving(
    folder: Path, base: str, objects: list[dict[str, Any]], *options: str, callers_are: list[dict[str, Any]] = CALLERS
) -> Iterator[Path]:
    """The program, once it has a key to sign with; its log.

    Args:
        folder: for all that it has; what is in its `served` is served too.
        base: where it answers to plain http.
        objects: its manifests.
        options: of the command.
        callers_are: the table.
    """
    state, log, callers = folder / "state", folder / "log", folder / "callers.yaml"
    place = folder / "served"
    place.mkdir(exist_ok=True)
    (place / "all.yaml").write_text(yaml.safe_dump_all(objects))
    callers.write_text(yaml.safe_dump(callers_are))
    argv = [PROGRAM, "serve", str(place), "--state", str(state), "--callers", str(callers), *options]
    process = start(argv, log)
    try:
        until_ready(base, process, log)
        yield log
    finally:
        stop(process, grace=10)


def base_url() -> str:
    """An issuer on a free port of this machine."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def until_ready(base: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the program's keys."""
    deadline = time.monotonic() + _PATIENCE
    while not _ready(base):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _ready(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/.well-known/jwks.json", timeout=10) as answer:
            document: bytes = answer.read()
            return document.count(b'"kid"') >= 2
    except (urllib.error.URLError, OSError):
        return False
