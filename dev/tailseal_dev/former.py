"""The former release: what people have installed when they upgrade, and where they go back to."""

from __future__ import annotations

from typing import Final

COMMIT: Final = "b8db1fe"
"""Its commit: chart, CRDs, image, and what its workers read. A release moves it, and empties what tests allow for it:
`ALLOWED` of tests/crd, `ADDED` of `domain/bundle/versions.py` down to its version, tests/workers/former."""

WITH_LOGINS: Final = "480c6ac"
"""An earlier commit that logs people in over a tailnet at two nodes, which the former release did not: between it and
this one logins are tried while everything rolls. A release that can do so takes its place, and this name goes."""
