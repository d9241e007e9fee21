"""Where trust is withdrawn: a cluster of ours with three replicas, and a folder that `tailseal serve` watches."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tailseal_dev.api import MERGE, Api
from tailseal_dev.demo import stage
from tailseal_dev.demo.narrator import Narrator, until
from tailseal_dev.issuer import Issuer
from tailseal_dev.ports import free_ports
from tailseal_dev.quickstart.__main__ import serving
from tailseal_dev.revocation.load import Load, exchange, key_set
from tailseal_dev.revocation.manifests import ASKED, AUDIENCE, NAMESPACE, OTHER, SCOPES, Trust

_DAY = 86_400
_KEY = f"/apis/tailseal.dev/v1alpha1/namespaces/{NAMESPACE}/signingkeys/corp"
_WORKERS = "sts: {replicas: 2}\nidp: {replicas: 1}\nserving: {tls: {secretRef: {name: corp-serving}}}\n"


@dataclass(frozen=True, slots=True)
class Change:
    """One way to take trust away, the way back, and who asks meanwhile."""

    name: str
    load: Load
    withdraw: Callable[[], None]
    restore: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A token service under load, and everything that can be changed of what it trusts."""

    name: str
    budget: float
    changes: tuple[Change, ...]


@contextlib.contextmanager
def folder(directory: Path) -> Iterator[Place]:
    """`tailseal serve` on a folder, whose files are replaced as an editor does it."""
    (port,) = free_ports(1)
    base = f"http://127.0.0.1:{port}"
    with Issuer() as ci, contextlib.ExitStack() as stack:
        trust = Trust(base, ci.url)
        write = _writer(directory)
        write("key", trust.key())
        write("provider", trust.identity_provider())
        write("policy", trust.policy())
        stack.enter_context(serving(directory))
        until(lambda: _listens(port), within=60, what="tailseal serve listens")
        load = Load([base], [exchange(_asked(ci, base))])
        changes = (
            Change("policy deleted", load, (directory / "policy.yaml").unlink, lambda: write("policy", trust.policy())),
            Change(
                "policy narrowed",
                load,
                lambda: write("policy", trust.policy(SCOPES[:1])),
                lambda: write("policy", trust.policy()),
            ),
            Change(
                "bound narrowed",
                load,
                lambda: write("provider", trust.identity_provider((OTHER,))),
                lambda: write("provider", trust.identity_provider()),
            ),
        )
        yield Place("folder, tailseal serve", 0.2, changes)


@contextlib.contextmanager
def cluster(directory: Path) -> Iterator[Place]:
    """A control plane and a node of ours; two replicas of the token service and one of the identity provider."""
    with contextlib.ExitStack() as stack:
        set_up = stack.enter_context(stage.local(Narrator(io.StringIO()), directory))
        names = set_up.names
        trust = Trust(names.issuer, names.foreign_issuer, names.foreign_ca, _WORKERS)
        manifests = {"key": trust.key(), "provider": trust.identity_provider(), "policy": trust.policy()}
        for name, manifest in manifests.items():
            set_up.apply(f"{name}.yaml", manifest)
        for name in ("identityprovider/corp", "trustpolicy/deploy"):
            set_up.cluster.kubectl("wait", "--for=condition=Ready", name, stage.SPACE, "--timeout=90s")
        set_up.open_way()
        trusted = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        trusted.check_hostname = False  # a replica is asked by its address, which no certificate names
        replicas = [f"https://{address}" for address in set_up.replicas().values()]
        form = _asked(set_up.ci, names.issuer)
        key = Key(Api(directory / "cluster" / "kubeconfig"), stack.enter_context(asyncio.Runner()))
        key.follow()
        load = Load(replicas, [exchange(form)], trusted)
        both = Load(replicas, [exchange(form, key.current), key_set(key.current)], trusted)
        changes = (*_in_cluster(key, load, manifests["policy"]), Change("key revoked", both, key.revoke, key.follow))
        yield Place(f"cluster, {len(replicas)} replicas", 2.0, changes)


@dataclass(slots=True)
class Key:
    """The key that signs in a cluster."""

    api: Api
    runner: asyncio.Runner
    kid: str = ""

    def current(self) -> str:
        """Its id, also of one that was just revoked."""
        return self.kid

    def follow(self) -> None:
        """Wait until another key signs than the one that did, and the one after it is published as well."""
        until(self._followed, within=60, what="a key signs, and a spare is published")

    def revoke(self) -> None:
        """Put it on the list of revoked ones."""
        spec = self._read()["spec"]
        revoked = {"spec": {"revokedKeyIDs": [*spec.get("revokedKeyIDs", ()), self.kid]}}
        self.runner.run(self.api.request("PATCH", _KEY, revoked, content_type=MERGE))

    def _read(self) -> dict[str, Any]:
        return self.runner.run(self.api.request("GET", _KEY))

    def _followed(self) -> bool:
        status = self._read().get("status", {})
        spare = any(key["state"] == "Published" and "publishTime" in key for key in status.get("keys", ()))
        if not spare or status.get("activeKeyID") in (None, self.kid):
            return False
        self.kid = status["activeKeyID"]
        return True


def _in_cluster(key: Key, load: Load, policy: str) -> tuple[Change, ...]:
    runner, api = key.runner, key.api
    policies = f"/apis/tailseal.dev/v1alpha1/namespaces/{NAMESPACE}/trustpolicies"
    providers = f"/apis/tailseal.dev/v1alpha1/namespaces/{NAMESPACE}/identityproviders"
    document = yaml.safe_load(policy)

    def ask(method: str, path: str, body: Mapping[str, Any] | None = None, kind: str = MERGE) -> None:
        runner.run(api.request(method, path, body, content_type=kind))

    def scopes(*allowed: str) -> None:
        grant = document["spec"]["grants"][0]
        narrowed = grant | {"jwt": grant["jwt"] | {"scopes": list(allowed)}}
        ask("PATCH", f"{policies}/deploy", {"spec": {"grants": [narrowed]}})

    def audiences(*allowed: str) -> None:
        (bound,) = runner.run(api.request("GET", f"{providers}/corp"))["spec"]["bounds"]
        ask("PATCH", f"{providers}/corp", {"spec": {"bounds": [bound | {"audiences": list(allowed)}]}})

    return (
        Change(
            "policy deleted",
            load,
            lambda: ask("DELETE", f"{policies}/deploy"),
            lambda: ask("POST", policies, document, "application/json"),
        ),
        Change("policy narrowed", load, lambda: scopes(SCOPES[0]), lambda: scopes(*SCOPES)),
        Change("bound narrowed", load, lambda: audiences(OTHER), lambda: audiences(AUDIENCE, OTHER)),
    )


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _asked(ci: Issuer, audience: str) -> dict[str, str]:
    return {"subject_token": ci.token(audience, exp=int(time.time()) + _DAY), **ASKED}


def _writer(directory: Path) -> Callable[[str, str], None]:
    def write(name: str, content: str) -> None:
        fresh = directory / f".{name}"
        fresh.write_text(content)
        fresh.replace(directory / f"{name}.yaml")

    return write
