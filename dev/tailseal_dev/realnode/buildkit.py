"""Our Dockerfile built by BuildKit, compiled from its Go module, as by Docker, but with no network and no registry."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tailseal_dev import process
from tailseal_dev.cache import ensure
from tailseal_dev.realnode.packages import find_program

_UP_WITHIN = 120.0
_RUNTIME = """\
#!{python}
# runc, whose containers see more: BuildKit has no flag that mounts something into what a Dockerfile runs.
import json, os, pathlib, sys
if "--bundle" in sys.argv:
    path = pathlib.Path(sys.argv[sys.argv.index("--bundle") + 1], "config.json")
    spec = json.loads(path.read_text())
    spec["mounts"] += {mounts}
    path.write_text(json.dumps(spec))
os.execv("{runc}", ["runc", *sys.argv[1:]])
"""


class ImageError(Exception):
    """An image could not be built: says which step, and the end of what it printed."""


def build(
    tag: str, source: Path, arguments: Mapping[str, str], mounts: Mapping[Path, str], folder: Path, archive: Path
) -> None:
    """Build the Dockerfile of a folder into a docker archive, by a daemon that ends with it.

    Args:
        tag: the image's name.
        source: the context, with the Dockerfile.
        arguments: of the build; `BASE` is in `folder`, and `SOURCE_DATE_EPOCH` is the time of all files.
        mounts: what is seen by all that the Dockerfile runs, by path, and where.
        folder: with the base, an OCI layout, in `base`; what is needed meanwhile goes there, too.
        archive: to write.

    Raises:
        ImageError: it cannot be built.
        BuildError: BuildKit cannot be compiled.
    """
    client, address = ensure("buildctl") / "buildctl", f"unix://{folder / 'socket'}"
    (digest,) = (each["digest"] for each in json.loads((folder / "base" / "index.json").read_text())["manifests"])
    told = {**{f"build-arg:{name}": text for name, text in arguments.items()}, "force-network-mode": "none"}
    told[f"context:{arguments['BASE']}"] = f"oci-layout://base@{digest}"
    argv = [str(client), f"--addr={address}", "build", "--frontend=dockerfile.v0", "--progress=plain"]
    argv += [f"--local={name}={source}" for name in ("context", "dockerfile")]
    argv += [f"--oci-layout=base={folder / 'base'}", *(f"--opt={name}={text}" for name, text in told.items())]
    argv += [f"--output=type=docker,name={tag},dest={archive},rewrite-timestamp=true"]
    daemon = process.start(_daemon(folder, mounts, address), folder / "log")
    try:
        _await(daemon, [str(client), f"--addr={address}", "debug", "workers"], folder / "log")
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
    finally:
        process.stop(daemon, grace=30)
    if result.returncode != 0:
        raise ImageError(f"building {tag} by BuildKit failed:\n  {result.stderr.strip()[-3000:]}")


def _daemon(folder: Path, mounts: Mapping[Path, str], address: str) -> list[str]:
    """Nothing of the machine's own BuildKit, if it has one, is read or touched."""
    seen = [
        {"source": str(path), "destination": place, "type": "bind", "options": ["bind", "ro"]}
        for path, place in mounts.items()
    ]
    runtime, settings = folder / "runtime", folder / "settings.toml"
    runtime.write_text(_RUNTIME.format(python=sys.executable, mounts=seen, runc=find_program("runc")))
    runtime.chmod(stat.S_IRWXU)
    settings.touch()
    argv = [str(ensure("buildkitd") / "buildkitd"), f"--config={settings}", f"--root={folder / 'state'}"]
    argv += [f"--addr={address}", "--containerd-worker=false", f"--oci-worker-binary={runtime}"]
    return [*argv, "--oci-worker-net=host", "--oci-worker-snapshotter=native"]


def _await(daemon: subprocess.Popen[bytes], ask: list[str], log: Path) -> None:
    deadline = time.monotonic() + _UP_WITHIN
    while subprocess.run(ask, capture_output=True, check=False).returncode != 0:
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise ImageError(f"BuildKit did not come up:\n{process.tail(log)}")
        time.sleep(0.1)
