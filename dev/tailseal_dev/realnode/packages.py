"""Whether a real node is possible on this machine, and the Debian packages it needs.

`python -m tailseal_dev.realnode.packages` names what is missing; with `--install` it installs that (root, apt).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

PROGRAMS: Mapping[str, str] = {
    "buildah": "buildah",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "runc": "runc",
}
"""Programs that must be on PATH, and the packages that bring them."""
CNI_PLUGINS = Path("/usr/lib/cni")
CGROUPS = Path("/sys/fs/cgroup")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing(which: Callable[[str], str | None] | None = None, plugins: Path = CNI_PLUGINS) -> list[str]:
    """The Debian packages that would have to be installed, by name."""
    find = which or find_program
    packages = [package for program, package in PROGRAMS.items() if find(program) is None]
    return sorted([*packages, *([] if (plugins / "bridge").exists() else ["containernetworking-plugins"])])


def find_program(name: str) -> str | None:
    """A program's path, the administrator's directories included."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")


def why_not() -> str | None:
    """One line that says why no real node can run here; None: it can."""
    if sys.platform != "linux":
        return f"a real node needs Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "a real node needs root: it makes namespaces, mounts and cgroups"
    if packages := missing():
        named = " ".join(packages)
        return f"a real node needs the Debian packages {named}: python -m tailseal_dev.realnode.packages --install"
    if not _has_cgroups():
        return f"a real node needs writable cgroups (cpu, memory) at {CGROUPS}"
    return None


def _has_cgroups() -> bool:
    controllers = CGROUPS / "cgroup.controllers"
    if controllers.exists():
        return {"cpu", "memory"} <= set(controllers.read_text().split()) and os.access(CGROUPS, os.W_OK)
    return all(os.access(CGROUPS / name, os.W_OK) and (CGROUPS / name / "tasks").exists() for name in ("cpu", "memory"))


def install(packages: list[str]) -> int:
    """Install Debian packages without what they only recommend; apt's exit code."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    updated = subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
    if updated.returncode != 0:
        return updated.returncode
    argv = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    return subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, check=False).returncode


def main() -> int:
    """Say what is missing; install it if told to. Exit code 1 if something is missing afterwards."""
    packages = missing()
    if packages and "--install" in sys.argv[1:]:
        if os.geteuid() != 0 or find_program("apt-get") is None:
            print("installing packages needs root and apt", file=sys.stderr)
            return 1
        install(packages)
        packages = missing()
    if packages:
        print(f"missing: {' '.join(packages)}")
        return 1
    print("all packages for a real node are here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
