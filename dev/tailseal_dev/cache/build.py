"""Builds a compiled helper once per (sources, Go version, flags), under a lock, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tailseal_dev.cache.golang import Go, NoGoError, find
from tailseal_dev.cache.progress import Progress
from tailseal_dev.process import die_with_parent

KUBERNETES_VERSION = "v1.36.4"
HELM_VERSION = "v4.3.1"
SOURCES = Path(__file__).resolve().parents[2]


class BuildError(Exception):
    """A helper could not be built: says which, why, and what would help."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A program to build: its name, package, linker flags, other names of it, build tags, files, Go module.

    The files, by module and path in it, are copied beside the program. The Go module is the one below `dev/` that has
    the program's name, unless said.
    """

    name: str
    package: str
    program: str
    ldflags: str
    links: tuple[str, ...] = ()
    tags: str = field(default="", repr=False)
    files: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    module: str = field(default="", repr=False)

    @property
    def source(self) -> Path:
        """Directory of its Go module."""
        return SOURCES / (self.module or self.name)

    def build(self, go: Go, target: Path) -> list[str]:
        """The command that compiles it."""
        flags = ["-v", "-trimpath", "-tags", self.tags, "-ldflags", self.ldflags]
        return [go.command, "build", *flags, "-o", str(target), self.package]


def _kubernetes_flags() -> str:
    # Without a version `kubectl version` fails, and so does whoever parses it. A fixed date keeps builds alike.
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    values = {
        "gitVersion": KUBERNETES_VERSION,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "unknown",
        "buildDate": "2026-11-20T00:00:00Z",
    }
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())])


def _tailscale_tags(*needed: str) -> str:
    # The command line in the same program, and nothing that only desktops, other systems or a public service would use.
    left_out = (
        "ace acme appconnectors aws bakedroots bird captiveportal capture cliconndiag clientupdate cloud colorable "
        "completion conn25 dbus debugeventbus debugportmapper doctor drive flashappliance linkspeed linuxdnsfight "
        "networkmanager portmapper posture qrcodes relayserver resolved routecheck serviceclientprefs ssh synology "
        "syslog systray taildrop tailnetlock tap tpm tundevstats wakeonlan webbrowser webclient"
    )
    omitted = (feature for feature in left_out.split() if feature not in needed)
    return ",".join(["ts_include_cli", *(f"ts_omit_{feature}" for feature in omitted)])


_ARGO: Final = "github.com/argoproj/argo-cd/v3"

HELPERS = {
    helper.name: helper
    for helper in (
        Helper(
            "kubernetes",
            ".",
            "hyper",
            _kubernetes_flags(),
            ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"),
        ),
        Helper(
            "helm",
            "helm.sh/helm/v4/cmd/helm",
            "helm",
            f"-s -w -X helm.sh/helm/v4/internal/version.version={HELM_VERSION}",
        ),
        Helper(
            "argocd",
            ".",
            "argocd",
            "-s -w",
            ("argocd-application-controller", "argocd-repo-server", "argocd-git-ask-pass", "argocd-health"),
            files=tuple(
                (_ARGO, name)
                for name in (
                    "manifests/crds/application-crd.yaml",
                    "manifests/crds/appproject-crd.yaml",
                    "hack/git-verify-wrapper.sh",
                )
            ),
        ),
        Helper("kstatus", ".", "kstatus", "-s -w"),
        Helper("pause", ".", "pause", "-s -w"),
        Helper("coredns", ".", "coredns", "-s -w"),
        Helper(
            "kubeconform",
            "github.com/yannh/kubeconform/cmd/kubeconform",
            "kubeconform",
            "-s -w",
            files=tuple(
                (
                    "github.com/prometheus-operator/prometheus-operator",
                    f"example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml",
                )
                for name in ("podmonitors", "servicemonitors", "prometheusrules")
            ),
        ),
        *(
            Helper(name, f"github.com/moby/buildkit/cmd/{name}", name, "-s -w", module="buildkit")
            for name in ("buildkitd", "buildctl")
        ),
        Helper("s3", "github.com/versity/versitygw/cmd/versitygw", "versitygw", "-s -w"),
        Helper("headscale", "github.com/juanfont/headscale/cmd/headscale", "headscale", "-s -w"),
        Helper(
            "tailscale", "tailscale.com/cmd/tailscaled", "tailscaled", "-s -w", ("tailscale",), tags=_tailscale_tags()
        ),
        Helper(
            "containerboot",
            "tailscale.com/cmd/containerboot",
            "containerboot",
            "-s -w",
            tags=_tailscale_tags("acme"),
        ),
    )
}


def cache_directory() -> Path:
    """Where helpers live: `tailseal` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailseal"


def ensure(name: str) -> Path:
    """The directory that holds a helper's programs; builds it first if it is not there.

    Raises:
        BuildError: it cannot be built here.
    """
    helper, cache = HELPERS[name], cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(cache / "go.lock", "Go"):
            go = find(cache)
        place = cache / f"{name}-{digest(helper, go)}"
        if not (place / helper.program).exists():
            with _locked(cache / f"{place.name}.lock", name):
                if not (place / helper.program).exists():
                    _build(helper, go, place)
    except (NoGoError, OSError) as error:
        raise BuildError(str(error)) from error
    return place


def digest(helper: Helper, go: Go) -> str:
    """16 hex digits over everything that decides what the program will be."""
    names = "".join(name for _, name in helper.files)
    content = hashlib.sha256(f"{go.version}\n{helper}{helper.tags}{names}\n".encode())
    for path in sorted(path for path in helper.source.iterdir() if path.suffix in {".go", ".mod", ".sum"}):
        content.update(f"{path.name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return content.hexdigest()[:16]


@contextlib.contextmanager
def _locked(lock: Path, what: str) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{what}: another process is preparing it, waiting", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(helper: Helper, go: Go, place: Path) -> None:
    started = time.monotonic()
    print(f"{helper.name}: compiled once into {place}, with {go.version}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as temporary:
        fresh = Path(temporary) / "programs"
        fresh.mkdir()
        _fetch(helper, go)
        _compile(helper, go, fresh / helper.program)
        for link in helper.links:
            (fresh / link).symlink_to(helper.program)
        _copy_files(helper, go, fresh)
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
    print(f"{helper.name}: built in {time.monotonic() - started:.0f} s", file=sys.stderr)


def _fetch(helper: Helper, go: Go) -> None:
    # Every go.sum line that is not about a go.mod file is a module, though not each one is needed.
    modules = sum("/go.mod " not in line for line in (helper.source / "go.sum").read_text().splitlines())
    argv = [go.command, "list", "-deps", "-tags", helper.tags, helper.package]
    _run(argv, helper, go, Progress(f"fetching modules for {helper.name}", modules, "at most"), "go: downloading ")


def _compile(helper: Helper, go: Go, target: Path) -> None:
    flags = ["-trimpath", "-tags", helper.tags, "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"]
    stale = [go.command, "list", *flags, helper.package]
    result = subprocess.run(stale, cwd=helper.source, env=go.environment(), capture_output=True, text=True, check=False)
    packages = len(result.stdout.split())
    progress = Progress(f"compiling {helper.name}", packages, "packages")
    _run(helper.build(go, target), helper, go, progress, "")


def _copy_files(helper: Helper, go: Go, target: Path) -> None:
    for module, name in helper.files:
        # Of a module that nothing is compiled of, nothing was fetched yet.
        argv = [go.command, "mod", "download", "-json", module]
        found = subprocess.run(
            argv, cwd=helper.source, env=go.environment(), capture_output=True, text=True, check=False
        ).stdout
        shutil.copy(Path(json.loads(found)["Dir"], name), target)


def _run(argv: list[str], helper: Helper, go: Go, progress: Progress, prefix: str) -> None:
    """Run a go command, counting the lines on stderr that start with `prefix` as steps."""
    other: list[str] = []
    with (
        progress,
        subprocess.Popen(
            argv,
            cwd=helper.source,
            env=go.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - only prctl and getppid run there
        ) as process,
    ):
        for line in process.stderr or ():
            other.append(line.rstrip())
            if line.startswith(prefix):
                progress.step(line.removeprefix(prefix).strip())
    if process.returncode != 0:
        detail = "\n  ".join(other[-8:])
        raise BuildError(f"`{' '.join(argv[:2])}` ended with {process.returncode} in {helper.source}:\n  {detail}")
