"""What the story needs around it: a real node, Argo CD, a Git repository, a CI job, and ways to the workers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import httpx

from tailseal_dev import pki
from tailseal_dev.argocd import application, manifests
from tailseal_dev.argocd.repository import Repository
from tailseal_dev.argocd.server import CRDS, NAMESPACE, ArgoCD
from tailseal_dev.demo.caller import Answer, Caller
from tailseal_dev.demo.narrator import Narrator, until
from tailseal_dev.issuer import Issuer
from tailseal_dev.ports import free_ports
from tailseal_dev.realnode import images
from tailseal_dev.realnode.current import CurrentCluster, crds_of_ours
from tailseal_dev.realnode.node import NodeError, RealNode

SPACE = f"--namespace={manifests.IDENTITY}"
_SERVING_PORT = 8443


@dataclass(slots=True)
class Stage:
    """A set stage.

    Args:
        told: who says what happens.
        node: where all of it runs.
        image: ours, as the cluster names it.
        argo: the running Argo CD.
        repository: what it keeps the cluster like.
        ci: the CI system's issuer.
        ca: the certificate that vouches for our workers.
        issuer: URL of our IdentityProvider.
    """

    told: Narrator
    node: RealNode | CurrentCluster
    image: str
    argo: ArgoCD
    repository: Repository
    ci: Issuer
    ca: Path
    issuer: str
    _ways: dict[str, int] = field(default_factory=dict)

    def kubectl(self, *arguments: str, **options: Any) -> str:  # noqa: ANN401 - of `ControlPlane.kubectl`
        """The real kubectl as administrator."""
        return self.node.plane.kubectl(*arguments, **options)

    def status(self) -> application.Status:
        """The application's status now."""
        return application.read(self.kubectl)

    def show(self, when: str) -> None:
        """Print the application's status."""
        self.told.say(f"The application {when}:")
        self.told.output("\n".join(self.status().lines()))

    def push(self, message: str) -> str:
        """Commit what was written, and have Argo CD look; the commit's id."""
        commit = self.repository.commit(message)
        self.told.command(f"git commit -m '{message}' && git push")
        application.refresh(self.kubectl)
        return commit

    def settled(self, commit: str, health: str = "Healthy", within: float = 180.0) -> float:
        """Wait until the application is as the commit says, in that health; the seconds that it took."""
        what = f"the application is Synced to {commit[:8]} and {health}"
        return until(lambda: self._is(commit, health), within=within, what=what, every=0.2)

    def _is(self, commit: str, health: str) -> bool:
        now = self.status()
        return now.sync == "Synced" and now.revisions == {commit} and now.health == health

    def job(self) -> str:
        """The token of a CI job."""
        return self.ci.token(self.issuer, iss=manifests.FOREIGN, exp=int(time.time()) + 3600)

    def replicas(self) -> list[str]:
        """Where each pod of the token service is reached from here."""
        selector = "--selector=tailseal.dev/identity-provider=corp,app.kubernetes.io/component=sts"
        path = "-o=jsonpath={range .items[?(@.status.podIP)]}{.status.podIP} {end}"
        return [self._way(address) for address in self.kubectl("get", "pods", SPACE, selector, path).split()]

    def ask_all(self, token: str) -> list[Answer]:
        """What every replica answers to an exchange."""
        with contextlib.closing(Caller(self.issuer, self.ca)) as caller:
            return [caller.exchange_at(replica, token, audience=manifests.AUDIENCE) for replica in self.replicas()]

    def refused(self, token: str) -> bool:
        """Whether every replica refuses."""
        return all(answer.status == httpx.codes.BAD_REQUEST for answer in self.ask_all(token))

    def jwks(self) -> dict[str, Any]:
        """The keys that a replica publishes now."""
        (replica, *_) = self.replicas()
        with httpx.Client(verify=False, timeout=30, trust_env=False) as client:  # noqa: S501 - loopback, keys only
            document: dict[str, Any] = client.get(f"https://{replica}/.well-known/jwks.json").raise_for_status().json()
        return document

    def objects(self, *kinds: str) -> list[dict[str, Any]]:
        """Objects of the provider's namespace."""
        answer = self.kubectl("get", ",".join(kinds), SPACE, "-o=json", "--show-managed-fields")
        found: list[dict[str, Any]] = json.loads(answer)["items"]
        return found

    def _way(self, address: str) -> str:
        if address not in self._ways:
            self._ways[address] = self.node.reach(address, _SERVING_PORT)
        return f"127.0.0.1:{self._ways[address]}"


@contextlib.contextmanager
def set_up(told: Narrator, directory: Path, revision: str = "HEAD", image: str = "") -> Iterator[Stage]:
    """A cluster with Argo CD; all of ours is gone afterwards.

    Args:
        told: who says what happens.
        directory: for everything that is written.
        revision: the commit of the chart, and of the image on a node of our own.
        image: as the cluster of the current context pulls it; empty: on a node of our own, of the commit.
    """
    (port,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        node: RealNode | CurrentCluster
        if image:
            node = stack.enter_context(_current(directory, image))
        else:
            node = stack.enter_context(_own(directory, revision))
        argo = stack.enter_context(ArgoCD(node.plane, directory / "argocd"))
        authority = pki.Authority("tailseal-gitops")
        (directory / "ca.crt").write_bytes(authority.certificate)
        certificate, key = authority.server().write(directory, "serving")
        if image:
            stack.callback(_leave, node.plane.kubectl)
        _prepare(node.plane.kubectl, certificate, key)
        ci = stack.enter_context(Issuer())
        repository = Repository(directory / "repository", revision)
        issuer = f"https://127.0.0.1:{port}"
        yield Stage(told, node, image or images.TAG, argo, repository, ci, directory / "ca.crt", issuer)


@contextlib.contextmanager
def _own(directory: Path, revision: str) -> Iterator[RealNode]:
    built = images.product(revision=revision)
    with RealNode(directory / "node", [built.archive]) as node:
        yield node


def _current(directory: Path, image: str) -> CurrentCluster:
    def refuse(what: str) -> NoReturn:
        raise NodeError(what)

    ours = (NAMESPACE, manifests.IDENTITY, manifests.SYSTEM)
    return CurrentCluster(directory / "cluster", image, ours, refuse, CRDS)


def _leave(kubectl: Callable[..., str]) -> None:
    """Leave somebody's cluster as it was found; Argo CD, which still runs, deletes what it made."""
    kubectl("delete", f"application/{manifests.APPLICATION}", f"--namespace={NAMESPACE}", "--timeout=240s", check=False)
    kubectl("delete", "namespace", NAMESPACE, manifests.IDENTITY, manifests.SYSTEM, "--ignore-not-found", check=False)
    if ours := crds_of_ours(kubectl, CRDS):
        kubectl("delete", *ours, check=False)


def _prepare(kubectl: Callable[..., str], certificate: Path, key: Path) -> None:
    """What no Git repository holds: the namespace of keys, and the workers' TLS certificate."""
    kubectl("create", "namespace", manifests.IDENTITY)
    kubectl("label", "namespace", manifests.IDENTITY, "pod-security.kubernetes.io/enforce=restricted")
    name = manifests.SERVING_SECRET
    kubectl("create", "secret", "tls", name, SPACE, f"--cert={certificate}", f"--key={key}")
    kubectl("label", "secret", name, SPACE, "tailseal.dev/allow=true")
