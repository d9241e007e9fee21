"""A network namespace that lives as long as we do: nothing in it reaches out, and nothing of it is left behind."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tailseal_dev import process

ADDRESS = "10.99.0.1"
"""Of the one interface beside loopback: with loopback alone tailscaled waits for a network for ever."""

_SETUP = f"""
set -e
ip link set lo up
ip link add up0 type veth peer name up1
ip link set up0 up
ip link set up1 up
ip address add {ADDRESS}/24 dev up0
"""
_PROGRAMS = ("ip", "unshare", "nsenter", "setpriv")


class SpaceError(Exception):
    """There can be no namespace here; says why in one line."""


class Space:
    """Context manager: the namespace. Root has one made; anybody else gets it inside a user namespace of their own."""

    def __init__(self) -> None:
        self._holder: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process whose namespace it is.

        Raises:
            SpaceError: there is none.
        """
        if self._holder is None:
            raise SpaceError("the namespace is not there: use it as a context manager")
        return self._holder.pid

    def __enter__(self) -> Self:
        # It ends when our end of its standard input closes, however we end: then the namespace is gone.
        argv = ["unshare", *_flags(), "sh", "-c", f"{_SETUP}\necho ready\nexec cat"]
        self._holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._holder.stdout is not None  # noqa: S101 - we asked for a pipe
        if self._holder.stdout.readline() != b"ready\n":
            _, said = self._holder.communicate(timeout=60)
            self._holder = None
            raise SpaceError(said.decode(errors="replace").strip().rpartition("\n")[2] or "it said nothing")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._holder is not None:
            self._holder.communicate(timeout=60)
            self._holder = None

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs a program in the namespace, and ends it with whoever started it."""
        enter = ["nsenter", f"--target={self.pid}", "--net"]
        if "--user" in _flags():
            enter += ["--user", "--preserve-credentials"]
        return [*enter, "setpriv", "--pdeathsig=KILL", *argv]

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 180.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the namespace to its end."""
        return subprocess.run(
            self.inside(argv),
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def start(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program in the namespace, its output appended to `log`."""
        return process.start(self.inside(argv), log, env)


class Held(Space):
    """The network namespace of a process that others run: it is theirs to end.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._pid = pid

    @property
    def pid(self) -> int:
        """The process whose namespace it is."""
        return self._pid

    def __enter__(self) -> Self:
        return self


def _flags() -> tuple[str, ...]:
    return ("--net",) if os.geteuid() == 0 else ("--user", "--map-root-user", "--net")


@functools.cache
def why_not() -> str | None:
    """One line that says why there can be no tailnet here; None: there can."""
    if sys.platform != "linux":
        return f"a tailnet of our own needs Linux, this is {sys.platform}"
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"a tailnet of our own needs {', '.join(missing)}: apt-get install iproute2 util-linux"
    try:
        with Space():
            return None
    except (SpaceError, OSError) as error:
        return f"a tailnet of our own needs a network namespace, which cannot be had here: {error}"
