"""What the local node computes: volumes, paths, environment, probes, status."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal_dev.localnode import command, projection, status, volumes
from tailseal_dev.localnode.addresses import free_address
from tailseal_dev.localnode.container import State
from tailseal_dev.localnode.fields import UnsupportedError, field
from tailseal_dev.localnode.probes import Probe, Tally, port_number

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "1"}, "annotations": {"x/y": "z"}},
    "spec": {"nodeName": "local"},
    "status": {"podIP": "127.70.0.1"},
}
ROOT = Path("/pod/root")


def _secret(**data: str) -> dict[str, Any]:
    return {"data": {name: base64.b64encode(value.encode()).decode() for name, value in data.items()}}


SOURCES = volumes.Sources(
    secrets={"s": _secret(key="secret", other="more")},
    config_maps={"c": {"data": {"t": "text"}, "binaryData": {"b": base64.b64encode(b"\x00").decode()}}},
    tokens={"": "for-the-api-server", "vault": "for-vault"},
)


def _content(volume: dict[str, Any]) -> dict[str, bytes]:
    files = volumes.render({"name": "v", **volume}, SOURCES, POD)
    assert files is not None
    return {path: file.content for path, file in files.items()}


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"secret": {"secretName": "s"}}, {"key": b"secret", "other": b"more"}),
        ({"secret": {"secretName": "s", "items": [{"key": "key", "path": "a/b"}]}}, {"a/b": b"secret"}),
        ({"secret": {"secretName": "none", "optional": True}}, {}),
        ({"configMap": {"name": "c"}}, {"t": b"text", "b": b"\x00"}),
        ({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}, {"t": b"for-the-api-server"}),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}},
            {"t": b"for-vault"},
        ),
        ({"configMap": {"name": "c", "items": [{"key": "no", "path": "x"}], "optional": True}}, {}),
        (
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"labels": b'a="1"'},
        ),
        (
            {"projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "no", "optional": True}}]}},
            {"key": b"secret", "other": b"more"},
        ),
    ],
)
def test_a_volume_holds_what_its_sources_hold(volume: dict[str, Any], expected: dict[str, bytes]) -> None:
    assert _content(volume) == expected


def test_file_modes_come_from_the_item_or_the_volume() -> None:
    items = [{"key": "key", "path": "key", "mode": 0o400}, {"key": "other", "path": "other"}]
    volume = {"name": "v", "secret": {"secretName": "s", "defaultMode": 0o440, "items": items}}
    files = volumes.render(volume, SOURCES, POD)
    assert files is not None
    assert {path: file.mode for path, file in files.items()} == {"key": 0o400, "other": 0o440}


@pytest.mark.parametrize(
    "source",
    [
        {"secret": {"secretName": "none"}},
        {"projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "none"}}]}},
        {"secret": {"secretName": "s", "items": [{"key": "none", "path": "x"}]}},
    ],
)
def test_a_source_that_is_not_optional_holds_the_whole_volume_back(source: dict[str, Any]) -> None:
    with pytest.raises(volumes.MissingSourceError, match="none"):
        _content(source)


def test_a_volume_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="'v'"):
        _content({"nfs": {}})


FILES = st.dictionaries(
    st.sampled_from(["a", "b", "c.json", "d/e", "d/f"]),
    st.binary(max_size=4).map(lambda content: volumes.File(content, 0o600)),
)


@given(sets=st.lists(FILES, min_size=1, max_size=4))
def test_a_projected_directory_shows_exactly_the_last_set(
    sets: list[volumes.Files], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("volume")
    for files in sets:
        projection.project(directory, files)
    visible = {path for path in directory.iterdir() if not path.name.startswith("..")}
    shown = {
        os.path.relpath(os.path.join(where, name), directory): Path(where, name).read_bytes()  # noqa: PTH118
        for top in visible
        for where, _, names in (os.walk(top) if top.is_dir() else [(str(directory), [], [top.name])])
        for name in names
    }
    assert shown == {path: file.content for path, file in sets[-1].items()}
    assert len([path for path in directory.iterdir() if path.name.startswith("..2")]) == 1
    assert not projection.project(directory, sets[-1])


def test_readers_go_through_one_link_that_is_replaced_as_one(tmp_path: Path) -> None:
    projection.project(tmp_path, {"a": volumes.File(b"1", 0o600), "b": volumes.File(b"1", 0o600)})
    before = (tmp_path / "..data").readlink()
    projection.project(tmp_path, {"a": volumes.File(b"2", 0o600), "b": volumes.File(b"2", 0o600)})
    assert (tmp_path / "a").readlink() == Path("..data/a")
    assert (tmp_path / "..data").readlink() != before


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(NONE)", "$(NONE)"),
        ("$$(A)", "$(A)"),
        ("$A $ $(", "$A $ $("),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    assert command.expand(text, {"A": "1"}) == expanded


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("/etc/app/signing", "/pod/root/etc/app/signing"),
        ("/etc/app/signing/x.json", "/pod/root/etc/app/signing/x.json"),
        ("/etc/app", "/pod/root/etc/app"),
        ("--dir=/etc/app", "--dir=/pod/root/etc/app"),
        ("/etc/application", "/etc/application"),
        ("/etc/app/signing2", "/etc/app/signing2"),
        ("https://host/etc/app/signing", "https://host/etc/app/signing"),
        ("/usr/bin/env", "/usr/bin/env"),
    ],
)
def test_paths_that_lead_to_a_mount_are_moved_below_the_pods_root(text: str, moved: str) -> None:
    assert command.moved_paths(text, ["/etc/app/signing"], ROOT) == moved


def test_a_process_has_our_entry_point_its_arguments_and_its_environment() -> None:
    container = {
        "name": "c",
        "args": ["sts", "--bundle", "/bundle", "--listen", "$(IP):8443"],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "URL", "value": "http://$(IP)/"},
        ],
        "volumeMounts": [{"name": "b", "mountPath": "/bundle/signing"}],
    }
    process = command.process(container, POD, ROOT, {"PATH": "/bin"})
    assert process.argv[:3] == (sys.executable, "-m", "tailseal")
    assert process.argv[3:] == ("sts", "--bundle", "/pod/root/bundle", "--listen", "127.70.0.1:8443")
    assert process.environment == {"PATH": "/bin", "IP": "127.70.0.1", "URL": "http://127.70.0.1/"}


def test_fields_are_read_by_path_and_unknown_ones_refused() -> None:
    assert field(POD, "metadata.annotations['x/y']") == "z"
    assert field(POD, "metadata.labels['none']") == ""
    assert field(POD, "spec.nodeName") == "local"
    with pytest.raises(UnsupportedError, match=r"status\.qosClass"):
        field(POD, "status.qosClass")


def test_a_probe_changes_its_outcome_only_after_as_many_results_in_a_row_as_asked_for() -> None:
    tally = Tally(successes=1, failures=3)
    results = [False, True, False, False, True, False, False, False, False, True]
    assert [tally.add(success=result) for result in results] == [
        *(False, True),
        *(False, False, False),
        *(False, False, True, False),
        True,
    ]


def test_probe_defaults_are_those_of_kubernetes() -> None:
    probe = Probe.of({"livenessProbe": {"tcpSocket": {"port": 1}}}, "liveness")
    assert probe is not None
    assert (probe.period, probe.timeout, probe.successes, probe.failures) == (10, 1, 1, 3)
    assert Probe.of({}, "liveness") is None
    with pytest.raises(UnsupportedError):
        Probe.of({"livenessProbe": {"exec": {"command": ["true"]}}}, "liveness")


def test_a_named_port_is_the_containers() -> None:
    container = {"ports": [{"name": "web", "containerPort": 80}]}
    assert port_number("web", container) == 80
    with pytest.raises(UnsupportedError, match="none"):
        port_number("none", container)


def test_addresses_are_loopback_and_distinct() -> None:
    taken: set[str] = set()
    for _ in range(20):
        taken.add(free_address([18_443], taken))
    assert len(taken) == 20
    assert all(address.startswith("127.") for address in taken)


@pytest.mark.parametrize(
    ("states", "phase", "ready"),
    [
        ([State()], "Pending", "False"),
        ([State(started_at=1, waiting="", ready=True)], "Running", "True"),
        ([State(started_at=1, waiting="", ready=True), State(started_at=1, waiting="")], "Running", "False"),
        ([State(started_at=1, waiting="CrashLoopBackOff", exit_code=1)], "Running", "False"),
    ],
)
def test_phase_and_readiness_follow_the_containers(states: list[State], phase: str, ready: str) -> None:
    seen = [status.Seen({"name": str(number)}, state, complete=False) for number, state in enumerate(states)]
    reported = status.pod_status({}, seen, address="127.70.0.1", started_at=0, now=0)
    assert reported["phase"] == phase
    assert {entry["type"]: entry["status"] for entry in reported["conditions"]}["Ready"] == ready


def test_a_pod_whose_containers_are_complete_succeeded_or_failed() -> None:
    for code, phase in ((0, "Succeeded"), (3, "Failed")):
        seen = [status.Seen({"name": "c"}, State(started_at=1, waiting="", exit_code=code), complete=True)]
        assert status.pod_status({}, seen, address="", started_at=0, now=0)["phase"] == phase


def test_a_condition_keeps_its_transition_time_until_it_flips() -> None:
    seen = [status.Seen({"name": "c"}, State(started_at=1, waiting="", ready=True), complete=False)]
    first = status.pod_status({}, seen, address="127.70.0.1", started_at=0, now=10)
    assert status.pod_status(first, seen, address="127.70.0.1", started_at=0, now=20) == first
