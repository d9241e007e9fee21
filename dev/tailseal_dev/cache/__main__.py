"""`python -m tailseal_dev.cache kubernetes helm`: build what is missing, say where each helper is."""

from __future__ import annotations

import sys

from tailseal_dev.cache import BuildError, ensure
from tailseal_dev.cache.build import HELPERS


def main() -> int:
    """Build the helpers named on the command line (none: all of them)."""
    for name in sys.argv[1:] or sorted(HELPERS):
        if name not in HELPERS:
            print(f"unknown helper {name!r}; there are: {', '.join(sorted(HELPERS))}", file=sys.stderr)
            return 2
        try:
            print(f"{name}: {ensure(name)}")
        except BuildError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
