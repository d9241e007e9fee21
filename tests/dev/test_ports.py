"""Ports for servers that restart: nobody else may have them meanwhile."""

from __future__ import annotations

import pytest

from tailseal_dev.ports import free_ports


def test_processes_that_share_a_test_run_are_never_given_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    for worker in ("gw0", "gw1", "gw2"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        given.append(set(free_ports(1000)))
    assert [len(ports) for ports in given] == [1000] * 3
    assert len(set.union(*given)) == 3000


def test_a_port_that_was_given_is_not_given_again_although_nobody_listens_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "64")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw62")
    given = [port for _ in range(50) for port in free_ports(2)]
    assert len(set(given)) == 100


def test_however_many_processes_share_it_each_is_given_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "64")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw63")
    assert len(free_ports(4)) == 4
