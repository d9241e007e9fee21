"""The demo as a new user runs it: every expectation holds, and nothing of it is left afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tailseal_dev.cache import ensure

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("helpers")]

PROMISES = (
    "IdentityProvider applied → Ready",
    "a caller that no policy trusts is refused",
    "TrustPolicy applied → Ready: every replica serves it",
    "the token verifies against the published JWKS",
    "a wider scope is refused",
    "another audience is refused",
    "rotation asked for → two keys served by every replica",
    "the new key signs only after every replica served it",
    "the old key leaves the JWKS",
    "tokens verified against every set an obedient cache may hold",
    "policy deleted → refused by every replica",
    "the same caller is refused again",
)


@pytest.fixture
def helpers() -> None:
    ensure("kubernetes")


def test_the_demo_keeps_all_its_promises_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "dev"), "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-m", "tailseal_dev.demo", "--keep"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as demo:
        said = ""
        for line in demo.stdout or ():
            said += line
            if "Ctrl-C ends it" in line:
                assert _processes(tmp_path), "everything should still be running"
                demo.send_signal(signal.SIGINT)
    assert demo.returncode == 0, said
    summary = said[said.index("── Summary") :]
    assert "FAIL" not in summary
    for promise in PROMISES:
        assert f"ok    {promise}" in summary
    assert _processes(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def _processes(directory: Path) -> list[str]:
    """Command lines of the processes that work below a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found
