"""Somebody's cluster as the place of our tests: nothing of his is touched, and every address in it is reached."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from tailseal_dev.argocd import stage
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError
from tailseal_dev.ports import free_ports
from tailseal_dev.realnode import current

_CRD = "customresourcedefinition.apiextensions.k8s.io"


def refuse(what: str) -> NoReturn:
    raise AssertionError(what)


@pytest.mark.cluster
def test_where_we_would_delete_what_is_somebody_s_nothing_is_begun(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    cluster = current.CurrentCluster(tmp_path, "image:tag", ["tailseal-nowhere", namespace], refuse)
    with pytest.raises(ControlPlaneError, match=f"namespace/{namespace}.*: there already"):
        cluster.__enter__()
    assert control_plane.kubectl("get", "namespace", current.NAMESPACE, "--ignore-not-found") == ""
    phase = control_plane.kubectl("get", "namespace", namespace, "--output=jsonpath={.status.phase}")
    assert phase == "Active"


def test_our_own_namespace_is_gone_when_the_next_run_may_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = current.CurrentCluster(tmp_path, "image:tag", ["tailseal-nowhere"], refuse)
    said: list[str] = []

    def kubectl(*arguments: str, **_: object) -> str:
        said.append(" ".join(arguments))
        return ""

    monkeypatch.setattr(cluster, "kubectl", kubectl)
    monkeypatch.setattr(cluster, "_start", lambda *_, **__: None)
    monkeypatch.setattr(current, "_await", lambda *_: None)
    with cluster._stack:
        cluster._open()
    assert said[-1].startswith(f"delete namespace {current.NAMESPACE}")
    assert "--wait=false" not in said[-1]


def test_argo_cd_of_somebody_is_left_as_it_is_wherever_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its CRDs belong to the whole cluster: ours would be written over them."""
    cluster = stage._current(tmp_path, "image:tag")
    said: list[str] = []

    def kubectl(*arguments: str, **_: object) -> str:
        said.append(" ".join(arguments))
        return f"{_CRD}/applications.argoproj.io\n" if arguments[:2] == ("get", "crds") else ""

    monkeypatch.setattr(cluster, "kubectl", kubectl)
    with pytest.raises(ControlPlaneError, match=r"applications\.argoproj\.io: there already"):
        cluster._open()
    assert all(line.startswith("get ") for line in said)


def test_what_others_install_meanwhile_is_not_taken_along_at_the_end() -> None:
    made = ("policies.tailseal.dev", "applications.argoproj.io", "appprojects.argoproj.io")
    theirs = ("certificates.cert-manager.io", "workflows.argoproj.io")
    deleted: list[str] = []

    def kubectl(*arguments: str, **_: object) -> str:
        deleted.extend(arguments[1:] if arguments[0] == "delete" else ())
        return "\n".join(f"{_CRD}/{name}" for name in made + theirs) if arguments[0] == "get" else ""

    stage._leave(kubectl)
    assert {name for name in deleted if name.startswith(_CRD)} == {f"{_CRD}/{name}" for name in made}


def test_one_forwarded_port_leads_to_every_address() -> None:
    """As in the pod: who connects says where to."""
    served, first, second = free_ports(3)
    started = [
        subprocess.Popen([sys.executable, str(current._TUNNEL), *arguments])
        for arguments in (
            ("serve", str(served)),
            *(
                ("lead", str(local), str(served), "127.0.0.1", str(_says(word)))
                for local, word in ((first, b"a"), (second, b"b"))
            ),
        )
    ]
    try:
        for port in (served, first, second):
            current._await(lambda port=port: current._listens(port), f"port {port}")  # type: ignore[misc]
        assert [_heard(port) for port in (first, second, first)] == [b"a", b"b", b"a"]
    finally:
        for running in started:
            running.kill()
            running.wait()


def _says(word: bytes) -> int:
    """A loopback port that says one word to everybody, for as long as the test runs."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):  # of who only looked whether somebody listens
                connection.sendall(word)

    threading.Thread(target=serve, daemon=True).start()
    return int(listening.getsockname()[1])


def _heard(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        heard = b""
        while part := connection.recv(16):
            heard += part
    return heard
