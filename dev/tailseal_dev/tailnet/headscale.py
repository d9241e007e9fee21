"""The control server: headscale with its own relay, in a namespace where nothing else listens."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from tailseal_dev import process
from tailseal_dev.tailnet.space import Space

DOMAIN = "tn.test"
_READY_WITHIN = 180.0


class TailnetError(Exception):
    """The tailnet did not do what was asked: says what, and what the program said."""


@dataclass(frozen=True, slots=True)
class Control:
    """Where the control server and its relay are reached.

    Args:
        host: address that it listens on.
        port: of both.
        certificate: PEM files of its certificate and key; None: plain http.
        ca: PEM file of who vouches for it.
        zones: address of the name server that nodes ask about a domain, by domain.
    """

    host: str = "127.0.0.1"
    port: int = 8443
    certificate: tuple[Path, Path] | None = None
    ca: Path | None = None
    zones: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """What nodes are told."""
        return f"{'http' if self.certificate is None else 'https'}://{self.host}:{self.port}"


URL = Control().url
_NAMES = "names.json"


class Headscale:
    """headscale below `directory`, started and stopped as often as a test wants.

    Args:
        space: where it listens.
        program: its path.
        directory: for its configuration, database, keys and log; short, as a socket's path is.
        control: where it is reached.
    """

    def __init__(self, space: Space, program: Path, directory: Path, control: Control | None = None) -> None:
        self._space, self._program, self._directory = space, program, directory
        self._config = directory / "headscale.json"
        self._running: Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._config.write_text(json.dumps(_config(directory, control or Control())))
        self.set_names({})

    def start(self) -> None:
        """Returns when it answers.

        Raises:
            TailnetError: it did not come up.
        """
        log = self._directory / "headscale.log"
        self._running = self._space.start([str(self._program), "--config", str(self._config), "serve"], log)
        deadline = time.monotonic() + _READY_WITHIN
        while self._space.run(self.argv("users", "list")).returncode != 0:
            if self._running.poll() is not None or time.monotonic() > deadline:
                raise TailnetError(f"headscale did not come up:\n{process.tail(log)}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; what it knows stays on disk."""
        if self._running is not None:
            process.stop(self._running, grace=2)
            self._running = None

    def add_user(self, name: str, email: str = "", display_name: str = "") -> int:
        """A user; their id."""
        more = [flag for flag, text in (("--email", email), ("--display-name", display_name)) if text]
        texts = [text for text in (email, display_name) if text]
        options = [part for pair in zip(more, texts, strict=True) for part in pair]
        return int(self.json("users", "create", name, *options)["id"])

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        """Replace users' groups, owners of tags, and grants."""
        file = self._directory / "policy.json"
        file.write_text(json.dumps(policy))
        self._run("policy", "set", "--file", str(file))

    def set_names(self, names: Mapping[str, Sequence[str]]) -> None:
        """Replace what the tailnet's DNS answers beside the names of nodes: addresses by name."""
        records = [
            {"name": name, "type": "AAAA" if ":" in address else "A", "value": address}
            for name, addresses in names.items()
            for address in addresses
        ]
        (self._directory / _NAMES).write_text(json.dumps(records))

    def key(self, user: int | None = None, tags: Sequence[str] = ()) -> str:
        """A key that nodes of the user, or with the tags, join with."""
        whose = ["--tags", ",".join(tags)] if user is None else ["--user", str(user)]
        return str(self.json("preauthkeys", "create", *whose, "--reusable", "--expiration", "1h")["key"])

    def nodes(self) -> dict[str, dict[str, Any]]:
        """All nodes as it sees them, by the name they were given."""
        return {node["given_name"]: node for node in self.json("nodes", "list") or ()}

    def expire(self, node: str, at: str = "") -> None:
        """The node must log in again: at a time (RFC 3339), or now."""
        when = ["--expiry", at] if at else []
        self._run("nodes", "expire", "--identifier", str(self.nodes()[node]["id"]), *when)

    def tag(self, node: str, tag: str) -> None:
        """The node is nobody's any more, but what the tag says; its addresses stay."""
        self._run("nodes", "tag", "--identifier", str(self.nodes()[node]["id"]), "--tags", tag)

    def delete(self, node: str) -> None:
        """The node is gone for everybody."""
        self._run("nodes", "delete", "--identifier", str(self.nodes()[node]["id"]), "--force")

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the command answers
        """What a command of headscale's answers."""
        return json.loads(self._run(*arguments, "--output", "json"))

    def _run(self, *arguments: str) -> str:
        result = self._space.run(self.argv(*arguments))
        if result.returncode != 0:
            said = (result.stderr or result.stdout).strip()
            raise TailnetError(f"headscale {' '.join(arguments[:2])}: {said[-500:]}")
        return result.stdout

    def argv(self, *arguments: str) -> list[str]:
        """The command line of one of its commands."""
        return [str(self._program), "--config", str(self._config), *arguments]


def _config(directory: Path, control: Control) -> dict[str, Any]:
    relay = {
        "enabled": True,
        "region_id": 999,
        "region_code": "hs",
        "region_name": "hs",
        "verify_clients": True,
        # With an IPv6 address here, clients need not wait three seconds for that probe.
        "stun_listen_addr": "[::]:3478",
        "ipv4": control.host,
        "ipv6": "::1",
        "private_key_path": str(directory / "derp.key"),
        "automatically_add_embedded_derp_region": True,
    }
    certificate, key = control.certificate or ("", "")
    return {
        "tls_cert_path": str(certificate),
        "tls_key_path": str(key),
        "server_url": control.url,
        "listen_addr": f"{control.host}:{control.port}",
        "metrics_listen_addr": "127.0.0.1:9690",
        "grpc_listen_addr": "127.0.0.1:50943",
        "noise": {"private_key_path": str(directory / "noise.key")},
        "prefixes": {"v4": "100.64.0.0/10", "v6": "fd7a:115c:a1e0::/48", "allocation": "sequential"},
        "derp": {"server": relay, "urls": [], "paths": [], "auto_update_enabled": False},
        "disable_check_updates": True,
        "database": {"type": "sqlite", "sqlite": {"path": str(directory / "db.sqlite"), "write_ahead_log": True}},
        "log": {"level": "info", "format": "text"},
        "policy": {"mode": "database", "path": ""},
        "tuning": {"batch_change_delay": "50ms"},
        "dns": {
            "magic_dns": True,
            "base_domain": DOMAIN,
            "override_local_dns": False,
            "nameservers": {"global": [], "split": {zone: [server] for zone, server in control.zones.items()}},
            "extra_records_path": str(directory / _NAMES),
        },
        "unix_socket": str(directory / "hs.sock"),
        "unix_socket_permission": "0700",
        "logtail": {"enabled": False},
        "taildrop": {"enabled": False},
    }
