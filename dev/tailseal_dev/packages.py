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


def missing(postgres: Path = POSTGRES, softhsm: Path = SOFTHSM) -> list[str]:
    """The packages that would have to be installed, by name."""
    found = [] if any(postgres.glob("*/bin/postgres")) else ["postgresql"]
    return found if softhsm.exists() else [*found, "softhsm2"]


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
