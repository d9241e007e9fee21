"""Workers and operators of two versions side by side: what each writes, the other reads, or keeps what it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fakes import bundles, exchange
from fakes.bundleloading import Bench, Files
from tailseal.domain import canonical
from tailseal.domain.bundle import build, versions
from tailseal.domain.bundle.model import MANIFEST_FILE, SETTINGS_FILE, VERSION, Introductions, Settings, Upstream
from tailseal_dev.former import COMMIT as FORMER

ROOT = Path(__file__).parents[2]
FORMER_SETTINGS = Path(__file__).with_name("former") / "settings.json"
"""With every member that it knew, as it wrote them."""

TODAY = exchange.SETTINGS.model_copy(
    update={
        "upstreams": (Upstream.model_validate(json.loads(FORMER_SETTINGS.read_text())["upstreams"][0]),),
        "capability": "corp.example/cap/idp",
        "refresh_token_ttl": 3600,
        "introductions": Introductions(dynamic=True),
    }
)


def written(version: int) -> Files:
    """The volume as an operator writes it for readers of a version."""
    files = build.policies_volume(TODAY, build.shards([exchange.record()]).files)
    return renamed(files, build.settings_file(TODAY, version))


def renamed(files: Files, settings: bytes) -> Files:
    """Other settings, as the manifest names them."""
    manifest = json.loads(files[MANIFEST_FILE]) | {"settings": canonical.digest(settings)}
    return files | {SETTINGS_FILE: settings, MANIFEST_FILE: canonical.dumps(manifest)}


def members(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items() if not field.exclude}


def test_what_the_former_release_wrote_is_read_and_what_it_could_not_say_is_at_its_strictest() -> None:
    bench = Bench()
    bench.put("policies", renamed(bundles.policies(), FORMER_SETTINGS.read_bytes()))
    assert bench.reasons == []
    assert bench.loader.snapshot
    settings = bench.loader.snapshot.settings
    assert (settings.version, settings.access_token_ttl) == (1, 300)
    assert (settings.capability, settings.refresh_token_ttl, settings.introductions.dynamic) == ("", 600, False)


def test_for_readers_of_the_former_release_nothing_is_written_that_it_does_not_know() -> None:
    def shape(value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, dict):
            return {name: shape(member) for name, member in value.items()}
        return [shape(member) for member in value] if isinstance(value, list) else None

    def within(found: Any, known: Any) -> bool:  # noqa: ANN401 - any JSON
        if isinstance(found, dict):
            return all(name in known and within(member, known[name]) for name, member in found.items())
        if isinstance(found, list):
            return all(any(within(member, other) for other in known) for member in found)
        return True

    known = json.loads(FORMER_SETTINGS.read_text())
    full = Settings.model_validate(known | {"version": VERSION})
    lowered = json.loads(build.settings_file(full, 1))
    assert lowered["version"] == 1
    assert within(shape(lowered), shape(known))
    assert shape(lowered) == shape(known)


def test_every_member_since_the_former_release_says_with_which_version_it_came() -> None:
    known = set(json.loads(FORMER_SETTINGS.read_text()))
    added = {Settings.model_fields[name].alias for added in versions.ADDED.values() for name in added}
    assert members(Settings) - known == added, "raise VERSION and name it in ADDED: workers of before would refuse it"
    assert max(versions.ADDED) == VERSION


def test_the_former_release_itself_loads_what_is_written_for_it_and_keeps_what_it_has_of_what_is_not(
    tmp_path: Path,
) -> None:
    archive = subprocess.run(["git", "archive", FORMER, "operator"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"this clone does not have the commit {FORMER}")
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=archive.stdout, check=True)
    mounted = bundles.Mounted(tmp_path / "bundle")
    mounted.project("signing", bundles.signing() | {"salt": bytes(32)})
    mounted.project("credentials", {})
    mounted.project("policies", written(1))
    later = bundles.Mounted(tmp_path / "later")
    later.project("policies", written(VERSION))
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "operator")}
    argv = [sys.executable, "-c", _LOADS, str(tmp_path), str(exchange.NOW)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"first": [[], 1], "then": [["SettingsCorrupt"], 1]}


_LOADS = """\
import json, sys
from pathlib import Path
import tailseal
from tailseal.workers.common.bundle.loader import Loader
from tailseal.workers.common.bundle.source import DirectorySource, MemorySource
folder = Path(sys.argv[1])
assert Path(tailseal.__file__).is_relative_to(folder), tailseal.__file__
source = MemorySource()
for volume in ("signing", "policies", "credentials"):
    source.put(volume, DirectorySource(folder / "bundle").read(volume))
loader = Loader(source, clock=lambda: float(sys.argv[2]))
def seen():
    loader.refresh()
    return [[problem.reason for problem in loader.problems], loader.snapshot.policies]
said = {"first": seen()}
source.put("policies", DirectorySource(folder / "later").read("policies"))
print(json.dumps(said | {"then": seen()}))
"""


def test_settings_of_a_later_version_are_refused_by_name_and_what_was_good_goes_on() -> None:
    first, second = bundles.apart(2)
    bench = Bench(bundles.source(None, bundles.policies(first, second)))
    before = bench.loader.snapshot
    later = json.loads(build.settings_file(exchange.SETTINGS)) | {"version": VERSION + 1, "something": True}
    bench.put("policies", renamed(bundles.policies(first), canonical.dumps(later)))
    assert [(problem.reason, problem.message) for problem in bench.loader.problems] == [
        ("ReaderTooOld", f"settings.json is of version {VERSION + 1}, and this reads up to {VERSION}")
    ]
    assert before
    assert bench.loader.snapshot
    assert bench.granting == {first.name}, "a withdrawal lands all the same"
    assert bench.loader.snapshot.settings == before.settings
    assert bench.loader.snapshot.applied == before.applied, "who has not all of it does not claim it"
    bench.put("policies", bundles.policies(first))
    assert bench.reasons == []


@pytest.mark.parametrize(
    ("reads", "present", "wanted"),
    [
        ([], b"", VERSION),
        ([VERSION, VERSION], b"", VERSION),
        ([VERSION, 1], b"", 1),
        ([VERSION + 1], b"", VERSION),
        ([VERSION, 0], b'{"version":1}', 1),
        ([VERSION, 0], b'{"version":2}', VERSION),
        ([0], b'{"version":9}', VERSION),
        ([0], b"edited by hand", VERSION),
        ([-5], b"", 1),
    ],
)
def test_what_is_written_is_what_the_lowest_reads_and_who_was_not_heard_reads_what_is_there(
    reads: list[int], present: bytes, wanted: int
) -> None:
    assert versions.lowest_reader(reads, present) == wanted
