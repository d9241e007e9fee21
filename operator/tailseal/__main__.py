"""`python -m tailseal`: the same as the command `tailseal`."""

from __future__ import annotations

from tailseal.cli.main import main

if __name__ == "__main__":
    main()
