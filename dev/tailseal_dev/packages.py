"""The Debian packages that tests find useful: `python -m tailseal_dev.packages` installs them where root and apt allow.

Those of a real node have their own module, which knows what else a node needs; here is what remains.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tailseal_dev.realnode.packages import find_program, install

POSTGRES = Path("/usr/lib/postgresql")
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")


def missing(postgres: Path = POSTGRES, softhsm: Path = SOFTHSM, nginx: str = "nginx") -> list[str]:
    """The packages that would have to be installed, by name."""
    there = {
        "postgresql": any(postgres.glob("*/bin/postgres")),
        "softhsm2": softhsm.exists(),
        "nginx-light": find_program(nginx) is not None,
        "redis-server": find_program("redis-server") is not None,
        "chromium": find_program("chromium") is not None,
    }
    return [name for name, found in there.items() if not found]


def main() -> int:
    """Install what is missing; exit code 1 if something is missing afterwards."""
    packages = missing()
    if packages and os.geteuid() == 0 and find_program("apt-get") is not None:
        install(packages)
        packages = missing()
    if packages:
        print(f"missing: {' '.join(packages)}")
    return 1 if packages else 0


if __name__ == "__main__":
    sys.exit(main())
