"""The images of a real node, none of them fetched: pause, CoreDNS, a Debian base with Python, ours from the Dockerfile.

`python -m tailseal_dev.realnode.images [--tag NAME:TAG] [--out FILE] [--builder buildkit]` builds ours and says how
large it is.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailseal_dev.cache import BuildError, ensure
from tailseal_dev.cache.build import cache_directory
from tailseal_dev.realnode import buildkit
from tailseal_dev.realnode.buildkit import ImageError as ImageError  # noqa: PLC0414 - that of every image
from tailseal_dev.realnode.config import DNS_IMAGE, PAUSE_IMAGE
from tailseal_dev.realnode.packages import find_program

ROOT = Path(__file__).resolve().parents[3]
TAG = "localhost/tailseal:dev"
SIDECAR = "localhost/tailseal-sidecar:dev"
"""The node beside identity providers of the tests."""

PYTHON = "3.11"
SIZE_GATE = 250_000_000
"""Bytes that our image may add to its base."""

_EPOCH = "1700000000"
_BASE_PACKAGES = "usr-is-merged,python3,python3-venv,ca-certificates,libstdc++6"
_BASE_DOCKERFILE = """\
FROM scratch
ADD rootfs.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
"""
_SIDECAR_DOCKERFILE = """\
FROM scratch
COPY bin /usr/local/bin
COPY ca.crt /etc/ssl/ca.crt
ENV PATH=/usr/local/bin SSL_CERT_FILE=/etc/ssl/ca.crt TS_NO_LOGS_NO_SUPPORT=true TS_DISABLE_PORTMAPPER=1
ENTRYPOINT ["containerboot"]
"""
_PROGRAM_DOCKERFILE = 'FROM scratch\nCOPY {0} /{0}\nUSER 65535:65535\nENTRYPOINT ["/{0}"]\n'
_GLIBC = (17, 24, 26, 27, 28, 31, 34)
"""Minor versions of glibc, up to that of the base, for which wheels are named."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image: the commit it is of, its archive for a container runtime, its digest, and what it adds to its base."""

    commit: str
    archive: Path
    digest: str
    added: int


def pause() -> Path:
    """The archive of the image whose process holds a pod's namespaces.

    Raises:
        ImageError: it cannot be built.
        BuildError: its program cannot be compiled.
    """
    return _of_program("pause", PAUSE_IMAGE)


def dns() -> Path:
    """The archive of the image of the cluster's DNS.

    Raises:
        ImageError: it cannot be built.
        BuildError: its program cannot be compiled.
    """
    return _of_program("coredns", DNS_IMAGE)


def _of_program(name: str, tag: str) -> Path:
    """Kept beside the program: another program is another image."""
    program = ensure(name) / name
    archive = program.with_suffix(".tar")
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=_directory()) as folder:
            shutil.copy(program, folder)
            Path(folder, "Dockerfile").write_text(_PROGRAM_DOCKERFILE.format(name))
            _bud(tag, Path(folder), "--isolation=chroot")
            fresh = Path(folder, "image.tar")
            _push(tag, fresh)
            fresh.rename(archive)
    return archive


def sidecar(ca: bytes, folder: Path) -> Path:
    """The archive of an image as Tailscale's own, whose node believes one authority and talks to nobody else.

    Args:
        ca: PEM certificate of who vouches for the control server.
        folder: where the archive goes.

    Raises:
        ImageError: it cannot be built.
        BuildError: its programs cannot be compiled.
    """
    with tempfile.TemporaryDirectory() as context:
        programs = Path(context, "bin")
        programs.mkdir()
        shutil.copy(ensure("containerboot") / "containerboot", programs)
        shutil.copy(ensure("tailscale") / "tailscaled", programs)
        (programs / "tailscale").symlink_to("tailscaled")
        Path(context, "ca.crt").write_bytes(ca)
        Path(context, "Dockerfile").write_text(_SIDECAR_DOCKERFILE)
        _bud(SIDECAR, Path(context), "--isolation=chroot")
    archive = folder / "sidecar.tar"
    _push(SIDECAR, archive)
    return archive


def base() -> str:
    """The name of the base image: Debian's minimum with its Python, made from the machine's own package sources.

    Raises:
        ImageError: it cannot be built.
    """
    recipe = _digest(_BASE_DOCKERFILE, *_mmdebstrap(Path("/")))
    name, rootfs = f"localhost/tailseal-base:{recipe}", _directory() / f"rootfs-{recipe}.tar"
    if not rootfs.exists():
        with tempfile.TemporaryDirectory(dir=rootfs.parent) as folder:
            fresh = Path(folder) / "rootfs.tar"
            _run("Debian's minimum by mmdebstrap", _mmdebstrap(fresh), SOURCE_DATE_EPOCH=_EPOCH)
            fresh.rename(rootfs)
    if not _exists(name):
        with tempfile.TemporaryDirectory(dir=_directory()) as folder:
            shutil.copy(rootfs, Path(folder, "rootfs.tar"))
            Path(folder, "Dockerfile").write_text(_BASE_DOCKERFILE)
            _bud(name, Path(folder), "--isolation=chroot")
    return name


def product(tag: str = TAG, revision: str = "HEAD", archive: Path | None = None, *, builder: str = "buildah") -> Built:
    """Our image of a commit, built from the Dockerfile with no network: what it needs is fetched before, by pip.

    Args:
        tag: its name.
        revision: of Git.
        archive: where the docker archive goes; None: into the cache directory.
        builder: `buildah` or `buildkit`.

    Raises:
        ImageError: it cannot be built.
        BuildError: BuildKit cannot be compiled.
    """
    commit = _git("rev-parse", "--verify", f"{revision}^{{commit}}")
    target = archive or cache_directory() / "image.tar"
    with _locked(), tempfile.TemporaryDirectory(dir=_directory()) as folder:
        source = Path(folder)
        _run("git archive", ["sh", "-c", f"git -C '{ROOT}' archive {commit} | tar -x -C '{source}'"])
        wheels = _wheels(source / "requirements" / "runtime.txt")
        settings = source / "pip.conf"
        settings.write_text("[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n")
        arguments = {"BASE": base(), "VERSION": _version(source), "REVISION": commit}
        mounts = {wheels: "/wheels", settings: "/etc/pip.conf"}
        if builder == "buildkit":
            _by_buildkit(tag, source, arguments, mounts, target)
        else:
            _by_buildah(tag, source, arguments, mounts, target)
    described = json.loads(_run("inspect", [*_buildah(), "inspect", "--type=image", tag]))
    return Built(commit, target, described["FromImageDigest"], _size(tag) - _size(base()))


def _by_buildah(
    tag: str, source: Path, arguments: Mapping[str, str], mounts: Mapping[Path, str], archive: Path
) -> None:
    _bud(
        tag,
        source,
        "--isolation=oci",
        f"--runtime={find_program('runc')}",
        "--network=none",
        *(f"--volume={path}:{place}:ro" for path, place in mounts.items()),
        *(f"--build-arg={name}={text}" for name, text in arguments.items()),
    )
    _push(tag, archive)


def _by_buildkit(
    tag: str, source: Path, arguments: Mapping[str, str], mounts: Mapping[Path, str], archive: Path
) -> None:
    """Buildah only gives it the base, and tells of the outcome."""
    with tempfile.TemporaryDirectory(dir=_directory()) as folder:
        _run("writing the base", [*_buildah(), "push", "--quiet", arguments["BASE"], f"oci:{folder}/base"])
        told = {**arguments, "SOURCE_DATE_EPOCH": _EPOCH}
        buildkit.build(tag, source, told, mounts, Path(folder), archive)
    _run(f"reading {archive}", [*_buildah(), "pull", "--quiet", f"docker-archive:{archive}"])


def layered(tag: str, context: Path, base: str = TAG) -> Path:
    """The archive of an image on top of ours, which only copies files: as users make one with a vendor's library.

    Args:
        tag: its name.
        context: a folder with what is copied, and `layer`: the lines of the Dockerfile after its first.
        base: what it is on top of; built before.

    Raises:
        ImageError: it cannot be built.
    """
    (context / "Dockerfile").write_text(f"FROM {base}\n{(context / 'layer').read_text()}")
    _bud(tag, context, "--isolation=chroot")
    archive = context / "layered.tar"
    _push(tag, archive)
    return archive


def _mmdebstrap(target: Path) -> list[str]:
    """Neither documentation nor the address of the mirror go into it."""
    sources = [str(path) for path in map(Path, ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"))]
    present = next((path for path in sources if Path(path).exists()), sources[0])
    return [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=essential",
        f"--include={_BASE_PACKAGES}",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "locale", "doc")),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        '--customize-hook=rm -rf "$1"/etc/apt/sources.list* "$1"/etc/resolv.conf "$1"/etc/hostname',
        "bookworm",
        str(target),
        present,
    ]


def _wheels(locked: Path) -> Path:
    """A folder with every wheel of the lock file for the base's Python, and what builds our own."""
    place = cache_directory() / f"wheels-{_digest(locked.read_text())}"
    if place.exists():
        return place
    machine = platform.machine()
    tags = ["any", f"manylinux2014_{machine}", *(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--python-version={PYTHON}"]
    pip += ["--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none", *(f"--platform={tag}" for tag in tags)]
    with tempfile.TemporaryDirectory(dir=_directory()) as folder:
        fresh = Path(folder) / "wheels"
        _run("pip download", [*pip, f"--dest={fresh}", "--require-hashes", f"--requirement={locked}"])
        _run("pip download", [*pip, f"--dest={fresh}", "hatchling>=1.27,<2"])
        fresh.rename(place)
    return place


def _buildah() -> list[str]:
    """With a store of its own, so that nobody else's images are touched."""
    place = _directory() / "containers"
    return [find_program("buildah") or "buildah", f"--root={place / 'root'}", f"--runroot={place / 'run'}"]


def _bud(tag: str, context: Path, *flags: str) -> None:
    # A fixed time makes equal inputs an equal image.
    argv = [*_buildah(), "bud", "--quiet", f"--timestamp={_EPOCH}", f"--tag={tag}", *flags, str(context)]
    _run(f"building {tag}", argv)


def _push(tag: str, archive: Path) -> None:
    archive.unlink(missing_ok=True)
    _run(f"writing {archive}", [*_buildah(), "push", "--quiet", tag, f"docker-archive:{archive}:{tag}"])


def _exists(tag: str) -> bool:
    argv = [*_buildah(), "inspect", "--type=image", tag]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _size(tag: str) -> int:
    """Bytes of an image, not compressed."""
    described = json.loads(_run("images", [*_buildah(), "images", "--json", "--filter", f"reference={tag}"]))
    return _bytes(str(described[0]["size"]))


def _bytes(text: str) -> int:
    number, unit = text.split()
    return int(float(number) * {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}[unit.upper()])


def _version(source: Path) -> str:
    lines = (source / "pyproject.toml").read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version"))


def _git(*arguments: str) -> str:
    return _run("git", ["git", "-C", str(ROOT), *arguments]).strip()


def _run(what: str, argv: Sequence[str], **environment: str) -> str:
    result = subprocess.run(argv, capture_output=True, text=True, check=False, env=os.environ | environment)
    if result.returncode != 0:
        end = "\n  ".join((result.stdout + result.stderr).strip().splitlines()[-15:])
        raise ImageError(f"{what} failed:\n  {end}")
    return result.stdout


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _directory() -> Path:
    place = cache_directory()
    place.mkdir(parents=True, exist_ok=True)
    return place


class _locked:  # noqa: N801 - used as a function
    """Two builds at once would double everything."""

    def __enter__(self) -> None:
        self._file = (_directory() / "image.lock").open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def main() -> int:
    """Build our image, say its size; exit code 1 if it cannot be built or is too large."""
    parser = argparse.ArgumentParser(prog="python -m tailseal_dev.realnode.images", description=__doc__)
    parser.add_argument("--tag", default=TAG)
    parser.add_argument("--revision", default="HEAD")
    parser.add_argument("--out", type=Path, help="docker archive to write")
    parser.add_argument("--builder", choices=("buildah", "buildkit"), default="buildah")
    arguments = parser.parse_args()
    try:
        built = product(arguments.tag, arguments.revision, arguments.out, builder=arguments.builder)
    except (ImageError, BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.tag}: {built.archive}, {built.digest}")
    print(f"adds {built.added / 1e6:.0f} MB to its base (gate {SIZE_GATE / 1e6:.0f} MB)")
    return 0 if built.added <= SIZE_GATE else 1


if __name__ == "__main__":
    sys.exit(main())
