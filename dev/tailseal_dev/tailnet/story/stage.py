"""Sets the scene: a tailnet, an identity provider beside two of its nodes, a CI system, a guarded service."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tailseal_dev import process
from tailseal_dev.demo import relay
from tailseal_dev.issuer import Issuer
from tailseal_dev.pki import Authority
from tailseal_dev.postgres import PostgresServer, programs
from tailseal_dev.tailnet.headscale import Control, TailnetError
from tailseal_dev.tailnet.net import Tailnet, until
from tailseal_dev.tailnet.node import Node
from tailseal_dev.tailnet.provider import Provider, Volumes
from tailseal_dev.tailnet.story import bundle, world

_CONTROL: Final = ("127.0.0.1", 8443)
_DATABASE: Final = 5432
_ROOTS: Final = Path(__file__).parents[4]
_UP_WITHIN: Final = 180.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What the story is told with.

    Args:
        net: the tailnet.
        replicas: of the provider: the first behind `tailscale serve`, the second, where there is PostgreSQL, on a port.
        ci: a CI system, whose tokens a policy trusts.
    """

    net: Tailnet
    replicas: tuple[Provider, ...]
    ci: Issuer

    @property
    def one(self) -> Provider:
        """The first replica."""
        return self.replicas[0]

    @property
    def other(self) -> Provider:
        """The last one."""
        return self.replicas[-1]

    def node(self, name: str) -> Node:
        """A node by its name."""
        return self.net.nodes[name]


@contextmanager
def tailnet(directory: Path) -> Iterator[tuple[Tailnet, bytes]]:
    """The tailnet, over TLS, and the certificate of who vouches for its control server."""
    authority = Authority("tailnet-story")
    ca = directory / "ca.crt"
    ca.write_bytes(authority.certificate)
    host, port = _CONTROL
    certificate = authority.server([host]).write(directory, "headscale")
    control = Control(host, port, certificate, ca)
    with Tailnet(world.USERS, world.MEMBERS, world.policy(), control=control) as net:
        yield net, authority.certificate


@contextmanager
def set_up(net: Tailnet, ca: bytes) -> Iterator[Stage]:
    """The provider's replicas and the service, up and known; all of it ended when it is left."""
    with ExitStack() as stack:
        ci = stack.enter_context(Issuer(authority=Authority("ci")))
        files = _volumes(net, ci, ca, _database(net, stack))
        shared = "state.url" in files["credentials"]
        modes = {"idp": "Serve", "idp-2": "Direct"} if shared else {"idp": "Serve"}
        replicas = []
        for number, (name, mode) in enumerate(modes.items()):
            directory = net.directory / f"worker-{number}"
            made = Provider(
                net, net.nodes[name], files, directory, issuer=world.ISSUER, mode=mode, port=9443 + 10 * number
            )
            stack.callback(made.stop)
            made.start()
            replicas.append(made)
        _service(net, stack)
        yield Stage(net, tuple(replicas), ci)


def _volumes(net: Tailnet, ci: Issuer, ca: bytes, database: str) -> Volumes:
    folder = net.directory / "manifests"
    folder.mkdir()
    key = str(net.headscale.json("apikeys", "create", "--expiration", "1h"))
    host, port = _CONTROL
    texts = world.manifests(json.dumps(ci.jwks), ci.url, f"https://{host}:{port}", key, database)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return bundle.volumes(folder, open_hosts=(host,), extra_ca=ca.decode())


def _database(net: Tailnet, stack: ExitStack) -> str:
    """URL of a PostgreSQL within the namespace; empty: none is installed here."""
    if programs() is None:
        return ""
    server = stack.enter_context(PostgresServer({"unix_socket_directories": "."}))
    way = f"{_DATABASE}={server.folder}/data/.s.PGSQL.{server.port}"
    argv = [sys.executable, str(Path(relay.__file__)), way]
    stack.callback(process.stop, net.space.start(argv, net.directory / "relay.log"))
    return server.url_at(_DATABASE)


def _service(net: Tailnet, stack: ExitStack) -> None:
    node, place, log = net.nodes["app"], net.directory / "app.sock", net.directory / "service.log"
    argv = [sys.executable, "-m", "uvicorn", "tailseal_dev.tailnet.story.service:app", f"--uds={place}"]
    paths = f"{_ROOTS / 'operator'}:{_ROOTS / 'dev'}"
    environment = os.environ | {"PYTHONPATH": paths, "TS_SOCKET": str(node.socket)}
    running = net.space.start([*argv, "--no-proxy-headers"], log, environment)
    stack.callback(process.stop, running)
    until(lambda: "running on" in log.read_text() or running.poll() is not None, "no service", _UP_WITHIN)
    if running.poll() is not None:
        raise TailnetError(f"the service did not come up:\n{process.tail(log)}")
    node.tailscale("serve", "--bg", "--http=80", f"unix:{place}")


def job(ci: Issuer, subject: str = world.SUBJECT) -> str:
    """The token of a CI job, for our issuer."""
    return ci.token(world.ISSUER, sub=subject, iat=int(time.time()))
