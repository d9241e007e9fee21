"""What a real node needs and leaves, decided without root: packages, the lock, settings, cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailseal_dev.realnode import config, machine, packages


def test_every_missing_program_is_named_by_its_package(tmp_path: Path) -> None:
    assert packages.missing(lambda name: None if name in {"ctr", "nft", "ip"} else name, tmp_path) == [
        "containernetworking-plugins",
        "iproute2",
        "nftables",
    ]


def test_nothing_is_missing_where_all_is_there(tmp_path: Path) -> None:
    (tmp_path / "bridge").touch()
    assert packages.missing(lambda name: name, tmp_path) == []


def test_why_not_is_one_line_that_says_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "missing", lambda: ["runc", "containerd"])
    reason = packages.why_not()
    assert reason is not None
    assert "runc containerd" in reason
    assert "--install" in reason
    assert "\n" not in reason


def test_without_root_there_is_no_real_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    assert "root" in (packages.why_not() or "")


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of files: its settings and one cgroup hierarchy."""
    (tmp_path / "cgroup" / "cpu").mkdir(parents=True)
    (tmp_path / "value").write_text("0")
    monkeypatch.setattr(machine, "cgroups", lambda: [tmp_path / "cgroup" / "cpu" / machine.NAME])
    monkeypatch.setattr(machine, "_SETTINGS", (str(tmp_path / "value"),))
    return tmp_path


def test_settings_and_cgroups_are_put_back(outside: Path) -> None:
    with machine.claimed(outside / "state"):
        (outside / "value").write_text("1")
        (outside / "cgroup" / "cpu" / machine.NAME / "kubepods" / "pod1").mkdir(parents=True)
    assert (outside / "value").read_text() == "0"
    assert list((outside / "cgroup" / "cpu").iterdir()) == []


def test_what_a_killed_node_changed_is_put_back_by_the_next(outside: Path) -> None:
    state = outside / "state"
    state.mkdir()
    machine._remember(state / "settings.json")
    (outside / "value").write_text("1")
    with machine.claimed(state):
        pass
    assert (outside / "value").read_text() == "0"


def test_a_second_node_is_told_whose_the_first_is(outside: Path) -> None:
    with (
        machine.claimed(outside / "state"),
        pytest.raises(machine.BusyError, match="already, started by process"),
        machine.claimed(outside / "state"),
    ):
        pass


def test_the_kubelet_keeps_its_default_speed_of_projection() -> None:
    settings = config.kubelet(Path("/x"))
    assert "syncFrequency" not in settings
    assert "configMapAndSecretChangeDetectionStrategy" not in settings
