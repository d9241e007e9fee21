"""The tailnet of the tests itself: nothing of it is left behind, and where there can be none it says why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailseal_dev.tailnet import Tailnet, TailnetError, space, why_not
from tailseal_dev.tailnet.net import Member, User
from tailseal_dev.tailnet.space import Space, SpaceError

ALICE = User("alice")
OPEN = {"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}


@pytest.fixture
def fresh() -> Iterator[None]:
    why_not.cache_clear()
    yield
    why_not.cache_clear()


def processes(mentioning: str) -> list[str]:
    """Command lines of processes that are still there."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mentioning in line:
            found.append(line)
    return found


@pytest.mark.tailnet
def test_when_a_tailnet_is_left_neither_processes_nor_files_nor_its_network_remain() -> None:
    if reason := why_not():
        pytest.skip(reason)
    with Tailnet([ALICE], [Member("one", "alice"), Member("two", "alice")], OPEN) as net:
        directory = net.directory
        assert len(processes(str(directory))) == 3
        assert net.nodes["one"].whois(net.nodes["two"].addresses[0]) is not None
        assert net.space.run(["ip", "route", "get", "192.0.2.1"]).returncode != 0, "there is no way out of it"
    assert processes(str(directory)) == []
    assert not directory.exists()
    with pytest.raises(SpaceError, match="not there"):
        net.space.run(["true"])


@pytest.mark.tailnet
def test_a_tailnet_that_cannot_come_up_says_why_and_leaves_nothing() -> None:
    if reason := why_not():
        pytest.skip(reason)
    net = Tailnet([ALICE], [Member("one", "alice")], {"grants": [{"src": ["nobody"], "dst": ["*"], "ip": ["*"]}]})
    with pytest.raises(TailnetError, match="headscale policy set: "), net:
        pass
    assert processes(str(net.directory)) == []
    assert not net.directory.exists()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda patch: patch.setattr(sys, "platform", "darwin"), "needs Linux, this is darwin"),
        (lambda patch: patch.setattr(space.shutil, "which", lambda _: None), "needs ip, unshare, nsenter, setpriv"),
        (
            lambda patch: patch.setattr(space, "_SETUP", "echo no veth here >&2; exit 1"),
            "cannot be had here: no veth here",
        ),
        (lambda patch: patch.setattr(Space, "__enter__", _forbidden), "cannot be had here: "),
    ],
)
def test_where_there_can_be_no_tailnet_one_line_says_why(
    monkeypatch: pytest.MonkeyPatch, change: object, said: str
) -> None:
    assert callable(change)
    change(monkeypatch)
    reason = why_not()
    assert reason is not None
    assert said in reason
    assert "\n" not in reason


def _forbidden(_: Space) -> Space:
    raise PermissionError("unshare: Operation not permitted")
