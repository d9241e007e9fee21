"""Divides the suite between processes that share a run: what is costly to set up is set up by one of them, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest
    from xdist.scheduler import LoadScopeScheduling

_ONE_AFTER_THE_OTHER = {
    "node": ("node", "gitops"),
    "cluster": ("chart", "cli", "cluster", "crd", "dev", "reconcile"),
}
"""Folders that one process takes: a machine has room for one real node, and a control plane is dear."""
_PART_OF = {folder: part for part, folders in _ONE_AFTER_THE_OTHER.items() for folder in folders}

_LONGEST = (
    "node",
    "cluster",
    "e2e",
    "serve",
    "state",
    "idp",
    "wiring",
    "tailnet",
    "publish",
    "workers",
    "sts",
    "rotation",
)
"""What is begun first, so that no process is left alone with a long part at the end."""


def part(nodeid: str) -> str:
    """The part of a test, given its id from the root of the repository: a folder of tests, or several."""
    folder = nodeid.removeprefix("tests/").partition("/")[0]
    return _PART_OF.get(folder, folder)


def rank(nodeid: str) -> int:
    """Where in the run a test's part comes."""
    name = part(nodeid)
    return _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)


def scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """One that keeps the tests of a part together (pytest-xdist 3.8 does not heed its own groups under pytest 9.2)."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - only a run of several processes needs it

    class ByPart(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return part(nodeid)

    config.option.loadscopereorder = False  # else what has the most tests comes first
    return ByPart(config, log)
