"""The image is a function of the commit: what was reviewed is what runs, and anybody can check it, from within, too."""

from __future__ import annotations

import hashlib
import io
import json
import statistics
import tarfile
import time
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from node import table
from node.table import measured
from node.world import SPACE, World
from tailseal_dev.realnode import config, images

pytestmark = pytest.mark.node

LOOK = """
import importlib.metadata, importlib.util, json, os, pathlib, subprocess, sys
def compiled(source):
    made = pathlib.Path(importlib.util.cache_from_source(source))
    head = made.read_bytes()[:8] if made.exists() else b""
    return head[:4] == importlib.util.MAGIC_NUMBER and int.from_bytes(head[4:], "little") == 1
def uses(module):
    argv = [sys.executable, "-v", "-c", f"import {module}"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stderr.splitlines()
    return [line.split(" from ")[1].strip("'") for line in said if line.startswith("# code object from ")]
home = pathlib.Path(sys.prefix)
sources = list(home.glob("lib/**/*.py"))
bill = json.loads((home / "sbom.cdx.json").read_text())
print(json.dumps({
    "sources": len(sources),
    "not compiled": [str(source) for source in sources if not compiled(source)],
    "loaded": {worker: uses(f"tailseal.cli.{worker}, tailseal.workers.{worker}.app") for worker in ("sts", "idp")},
    "bill": sorted(each["name"] for each in (bill["metadata"]["component"], *bill["components"])),
    "installed": sorted(each.name for each in importlib.metadata.distributions()),
    "managers": [path.name for path in home.glob("bin/*") if path.name.rstrip("0123456789.") in ("pip", "uv", "conda")],
    "pip": bool(importlib.util.find_spec("pip")),
    "first": open("/proc/1/cmdline").read().split("\\0")[:2],
    "program": os.readlink("/proc/1/exe"),
    "interpreter": (home / "bin" / "tailseal").read_text().splitlines()[0],
    "ids": [os.getuid(), os.getgid()],
}))
"""
START = """
import json, os, subprocess, sys, tempfile, time, urllib.request
words = open("/proc/1/cmdline").read().split("\\0")[:-1]
folder = tempfile.TemporaryDirectory(dir="/run/tailseal")
other = {"--listen": "127.0.0.1:18443", "--management": "127.0.0.1:18444", "--state": folder.name}
argv = [other.get(former, word) for former, word in zip([""] + words, words)]
begun = time.monotonic()
worker = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
def ready():
    try:
        return urllib.request.urlopen("http://127.0.0.1:18444/readyz", timeout=60).status == 200
    except OSError:
        return False
while not ready():
    assert worker.poll() is None, worker.returncode
    time.sleep(0.01)
seconds = time.monotonic() - begun
spent = open(f"/proc/{worker.pid}/stat").read().rpartition(")")[2].split()[11:13]
worker.kill()
worker.wait()
print(json.dumps([seconds, sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")]))
"""
BEGUN = """
import os, time
ticks = int(open("/proc/1/stat").read().rpartition(")")[2].split()[19])
print(time.time() - float(open("/proc/uptime").read().split()[0]) + ticks / os.sysconf("SC_CLK_TCK"))
"""


def test_one_commit_built_twice_is_one_image(image: images.Built, tmp_path: Path) -> None:
    again = images.product("localhost/tailseal:again", image.commit, tmp_path / "again.tar")
    assert again.digest == image.digest


@pytest.mark.skipif(not table.FULL, reason="compiles BuildKit and builds twice more: part of make e2e")
def test_buildkit_makes_of_one_commit_one_image_with_the_same_files_as_buildah(
    image: images.Built, tmp_path: Path
) -> None:
    name = "localhost/tailseal:buildkit"
    begun = time.monotonic()
    first, second = (
        images.product(name, image.commit, tmp_path / f"{turn}.tar", builder="buildkit") for turn in range(2)
    )
    seconds = (time.monotonic() - begun) / 2
    assert first.digest == second.digest
    files = _files(first.archive)
    assert files, "nothing of ours was found"
    assert files == _files(image.archive)
    measured("built by BuildKit, twice", "one digest, the files of buildah's image", f"{len(files)} files", seconds)


def _files(archive: Path) -> dict[str, tuple[object, ...]]:
    """What an image holds of ours, by path."""
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(archive) as whole:
        (manifest,) = json.load(whole.extractfile("manifest.json") or io.BytesIO())
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=whole.extractfile(layer)) as tar:
                for member in tar:
                    if member.name.lstrip("./").startswith("opt/tailseal/"):
                        content = tar.extractfile(member) if member.isfile() else None
                        told = hashlib.sha256(content.read()).hexdigest() if content else member.linkname
                        owner = (member.mode & 0o7777, member.uid, member.gid, member.mtime)
                        found[member.name.strip("./")] = (member.type, told, *owner)
    return found


@cache
def _found(world: World) -> dict[str, Any]:
    """What the image holds, as a worker's own container sees it."""
    found: dict[str, Any] = json.loads(_execute(world, world.pods("sts")[0], LOOK))
    return found


def test_every_module_ships_compiled_and_no_worker_compiles_one_at_its_start(world: World) -> None:
    """Without a look at the source, whose time builders set as they like: PEP 552."""
    found = _found(world)
    assert found["not compiled"] == []
    loaded = {worker: len(paths) for worker, paths in found["loaded"].items()}
    assert min(loaded.values()) > 100
    assert [path for paths in found["loaded"].values() for path in paths if not path.endswith(".pyc")] == []
    measured("modules of the image, compiled", f"{found['sources']} of {found['sources']}", "all")
    measured("modules that a worker compiles at its start", f"0 of {loaded['sts']} (STS), {loaded['idp']} (IdP)", "0")


def test_its_bill_of_materials_names_every_distribution_in_it(world: World) -> None:
    found = _found(world)
    assert found["bill"] == found["installed"]
    assert "tailseal" in found["bill"]
    measured("distributions in the image, named by its SBOM", f"{len(found['bill'])} of {len(found['installed'])}")


def test_neither_a_shell_nor_a_package_manager_has_to_do_with_its_process(world: World) -> None:
    found = _found(world)
    assert (found["managers"], found["pip"]) == ([], False)
    assert found["first"] == ["/opt/tailseal/bin/python", "/opt/tailseal/bin/tailseal"]
    assert found["interpreter"] == "#!/opt/tailseal/bin/python"
    assert Path(found["program"]).name.startswith("python3")


def test_it_says_what_it_is_and_that_it_is_nobody_s_root(world: World, image: images.Built) -> None:
    pod = world.pods("sts")[0]
    path = "--output=jsonpath={.status.containerStatuses[0].imageID}"
    digest = world.kubectl("get", f"pod/{pod}", SPACE, path).rpartition("@")[2]
    ctr = ("ctr", f"--address={config.SOCKET}", "--namespace=k8s.io", "content", "get", digest)
    told = json.loads(world.node.run(*ctr))["config"]
    prefix = "org.opencontainers.image."
    labels = {name.removeprefix(prefix): text for name, text in told["Labels"].items() if name.startswith(prefix)}
    assert labels["title"] == "tailseal"
    assert labels["revision"] == image.commit
    assert labels["licenses"] == "Apache-2.0"
    assert labels.keys() >= {"version", "description"}
    assert (told["User"], told["Entrypoint"]) == ("65532:65532", ["tailseal"])
    assert _found(world)["ids"] == [65532, 65532]


def test_a_worker_is_ready_soon_after_its_start(world: World) -> None:
    """Seconds are told and not held against anybody: how many other processes wanted the processor is not known."""
    for component in ("sts", "idp"):
        pod = world.pods(component)[0]
        times = [json.loads(_execute(world, pod, START)) for _ in range(3)]
        seconds, spent = (statistics.median(column) for column in zip(*times, strict=True))
        what = f"{component} started in its container → /readyz says yes (median of 3)"
        measured(what, f"{1000 * spent:.0f} ms CPU", "< 1.5 s", seconds)
        lines = (
            json.loads(line) for line in world.kubectl("logs", pod, SPACE, f"--container={component}").splitlines()
        )
        listening = next(line["timestamp"] for line in lines if line.get("event") == "listening")
        passed = datetime.fromisoformat(listening).timestamp() - float(_execute(world, pod, BEGUN))
        measured(f"{component}: its container started with those of two other pods → it listens", "", "", passed)


def _execute(world: World, pod: str, program: str) -> str:
    return world.kubectl("exec", pod, SPACE, "--", "python", "-c", program)
