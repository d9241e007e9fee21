"""A real PostgreSQL of the system's packages, on a loopback port, with nothing in it."""

# ruff: noqa: S101, S105 - it serves tests and measurements only

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tailseal_dev.ports import free_ports

PASSWORD: Final = "canary-database-password"

_DEADLINE: Final = 180.0


def programs() -> Path | None:
    """Where the newest installed server's programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgresServer:
    """One server; `kill` is `kill -9` of its postmaster, `start` brings it back with what was committed.

    Args:
        settings: lines of `postgresql.conf`.
        beside: a process in whose network namespace it runs, open to all who are there; 0: on our own loopback.
        primary: a server that runs, whose standby it is, and without which that one commits nothing any more.
    """

    def __init__(
        self, settings: Mapping[str, str] = {}, beside: int = 0, primary: PostgresServer | None = None
    ) -> None:
        found = programs()
        assert found is not None, "see the fixture"
        self._programs, self._settings = found, dict(settings) | ({"listen_addresses": "*"} if beside else {})
        self._enter = ["nsenter", f"--target={beside}", "--net"] if beside else []
        self._user: dict[str, Any] = {}
        self._primary = primary
        self.folder = Path(tempfile.mkdtemp(prefix="tailseal-postgres-"))
        if os.geteuid() == 0:
            unprivileged = pwd.getpwnam("nobody")
            self._user = {"user": unprivileged.pw_uid, "group": unprivileged.pw_gid, "extra_groups": []}
            os.chown(self.folder, unprivileged.pw_uid, unprivileged.pw_gid)
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._orphans: list[str] = []

    @property
    def url(self) -> str:
        """As its owner, unencrypted."""
        return self.url_at(self.port)

    def url_at(self, port: int, sslmode: str = "disable") -> str:
        """The same through another port."""
        return f"postgresql://tailseal:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode={sslmode}"

    def file(self, name: str, content: str) -> Path:
        """A file that the server may read."""
        path = self.folder / name
        path.write_text(content)
        path.chmod(0o600)
        if self._user:
            os.chown(path, self._user["user"], self._user["group"])
        return path

    def __enter__(self) -> Self:
        if self._primary is not None:
            self._follow(self._primary)
            return self
        password = self.file("password", PASSWORD)
        data = self.folder / "data"
        self._run(
            "initdb", "-D", data, "-U", "tailseal", "-A", "scram-sha-256", "--pwfile", password, "-N", "-E", "UTF8"
        )
        if self._enter:
            with (self.folder / "data" / "pg_hba.conf").open("a") as allowed:
                allowed.write("host all all all scram-sha-256\n")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._await_orphans()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "logging_collector": "off",
        } | self._settings
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        enter, user = self._enter, self._user
        if enter and user:  # a namespace is root's to enter
            enter, user = [*enter, f"--setuid={user['user']}", f"--setgid={user['group']}"], {}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*enter, self._programs / "postgres", "-D", self.folder / "data", *given],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.folder,
                **user,
            )
        self._await_ready()

    def kill(self) -> None:
        """End its postmaster at once, as a lost machine would."""
        assert self._process is not None
        with contextlib.suppress(OSError):  # a kernel that does not tell
            self._orphans = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop_immediately(self) -> None:
        """As `pg_ctl stop -m immediate`: nothing is written down any more, what was committed is found again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)
        self._process = None

    def promote(self) -> None:
        """Let a standby take writes, now that its primary is lost."""
        assert self.sql(f"SELECT pg_promote(wait_seconds => {_DEADLINE:.0f})") == "t"

    def sql(self, statement: str, url: str = "") -> str:
        """What `psql` prints, as the owner of everything, or of another URL."""
        done = subprocess.run(
            [self._programs / "psql", "-At", "-v", "ON_ERROR_STOP=1", url or self.url, "-c", statement],
            capture_output=True,
            text=True,
            check=True,
            timeout=_DEADLINE,
        )
        return done.stdout.strip()

    def timed(self) -> str:
        """URL of an empty database whose clock is a row: it stands `at` a time, or is so many seconds `ahead`."""
        url = self.url.replace("/postgres?", "/timed?")
        self.sql("DROP DATABASE IF EXISTS timed WITH (FORCE)")
        self.sql("CREATE DATABASE timed")
        self.sql("ALTER DATABASE timed SET search_path = timed, pg_catalog")
        now = "SELECT coalesce(to_timestamp(at), pg_catalog.now() + make_interval(secs => ahead)) FROM timed.clock"
        for statement in (
            "CREATE SCHEMA timed",
            "CREATE TABLE timed.clock AS SELECT NULL::float8 AS at, 0::float8 AS ahead",
            f"CREATE FUNCTION timed.now() RETURNS timestamptz STABLE LANGUAGE sql AS $${now}$$",
        ):
            self.sql(statement, url)
        return url

    def _follow(self, primary: PostgresServer) -> None:
        self._run("pg_basebackup", "-D", self.folder / "data", "-R", "-X", "stream", "-c", "fast", "-d", primary.url)
        self.start()
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        until = time.monotonic() + _DEADLINE
        while primary.sql("SELECT sync_state FROM pg_stat_replication") != "sync":
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.1)

    def _await_orphans(self) -> None:
        """Of a postmaster that was killed: while one is left, on a busy machine for a while, no other one starts."""
        until = time.monotonic() + _DEADLINE
        while any(_is_running(pid) for pid in self._orphans):
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.02)
        self._orphans = []

    def _await_ready(self) -> None:
        until = time.monotonic() + _DEADLINE
        ask: list[str | Path] = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run([*self._enter, *ask], check=False).returncode != 0:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.1)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            **self._user,
        )
        assert done.returncode == 0, done.stderr


def _is_running(pid: str) -> bool:
    """Whether it is, and has not only not been asked for its end by who has it now."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
