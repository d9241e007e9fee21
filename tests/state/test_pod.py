"""A worker with a file of its own: it remembers over a restart, and does not run where it could not."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fakes import bundles, exchange, worker
from fakes.bundles import Mounted
from tailseal.cli import workers
from tailseal.cli.errors import Failure
from tailseal.state.sqlite import FILE, SQLiteStore, file
from tailseal_dev.ports import free_ports


def bundle(folder: Path) -> Path:
    mounted, lease = Mounted(folder), time.time() + 86_400
    mounted.project(
        "signing", bundles.signing(held=[{"kid": "k1", "alg": "ES256", "file": "k1.pem", "signUntil": lease}])
    )
    settings = exchange.SETTINGS.model_copy(update={"state": "SQLite"})
    keys = {"jwks": {"keys": [exchange.jwk(exchange.rsa_key("foreign"), "f1", "RS256")]}}
    mounted.project(
        "policies",
        bundles.policies(exchange.record(exchange.spec(keys=keys, replay={"oneTime": True})), settings=settings),
    )
    mounted.project("credentials", {})
    return folder


def command(folder: Path, state: Path, ports: list[int]) -> list[str]:
    listen = [f"127.0.0.1:{port}" for port in ports]
    arguments = ["idp", "--bundle", str(folder), "--listen", listen[0], "--management", listen[1]]
    return [sys.executable, "-m", "tailseal", *arguments, "--state", str(state)]


@contextlib.contextmanager
def running(folder: Path, state: Path) -> Iterator[str]:
    ports = free_ports(2)
    with (folder.parent / "log").open("wb") as log:
        process = subprocess.Popen(command(folder, state, ports), stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(2400):
            assert process.poll() is None, worker.content(folder.parent / "log")
            try:
                if httpx.get(f"http://127.0.0.1:{ports[1]}/readyz", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        process.kill()
        process.wait(60)


def ask(url: str, subject: str) -> tuple[int, str]:
    answer = httpx.post(f"{url}/token", data=worker.form(subject_token=subject), trust_env=False, timeout=60)
    return answer.status_code, answer.json().get("tailseal_reason", "")


def test_what_counted_before_a_kill_does_not_count_again(tmp_path: Path) -> None:
    now = int(time.time())
    subject = exchange.token(exchange.claims(iat=now - 5, exp=now + 300, jti=os.urandom(8).hex()))
    folder = bundle(tmp_path / "bundle")
    with running(folder, tmp_path) as url:
        assert ask(url, subject) == (200, "")
    with running(folder, tmp_path) as url:
        assert ask(url, subject) == (400, "TokenReplayed")


def refused(state: Path, folder: Path) -> str:
    done = subprocess.run(
        command(folder, state, free_ports(2)), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "hint: --state must be a directory" in done.stderr
    return done.stderr


@pytest.fixture
def held(tmp_path: Path) -> Iterator[int]:
    """The lock of another process."""
    lock = file.lock(tmp_path / FILE)
    yield lock
    with contextlib.suppress(OSError):
        os.close(lock)


def test_a_worker_waits_for_another_process_to_let_go_of_its_file(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []

    def look_again(seconds: float) -> None:
        looked.append(seconds)
        if len(looked) == 3:
            os.close(held)

    monkeypatch.setattr(workers.time, "sleep", look_again)
    assert workers.keeping(tmp_path)
    assert len(looked) == 3


def test_a_file_that_another_process_keeps_ends_the_worker(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(workers.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(workers.time, "sleep", lambda _: None)
    with pytest.raises(Failure, match="another process uses it") as caught:
        workers.keeping(tmp_path)
    assert caught.value.exit_code == 3
    assert next(now) <= 50, "the kubelet gives a worker that says nothing 30 s"


@pytest.mark.parametrize("state", ["/proc/self", "/no/such/folder"])
def test_a_folder_that_cannot_be_written_ends_the_worker(state: str, tmp_path: Path) -> None:
    assert f"cannot keep state: {state}/state.db: No such file" in refused(Path(state), bundle(tmp_path / "bundle"))


def test_a_file_that_is_no_database_ends_the_worker(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"something else, and long enough to be looked at" * 40)
    assert "state.db: file is not a database" in refused(tmp_path, bundle(tmp_path / "bundle"))


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_the_file_is_nobody_else_s_to_read(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / FILE, clock=time.time)
    await store.claim([(os.urandom(32), 1e12)])
    assert modes(tmp_path) == dict.fromkeys((FILE, f"{FILE}.lock", f"{FILE}-wal", f"{FILE}-shm"), 0o600)
    await store.aclose()
