"""A Git repository on disk, such as a platform team has: the chart of the last commit, and its own objects."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tailseal_dev.realnode.images import ROOT

_AUTHOR = {
    "GIT_AUTHOR_NAME": "Platform team",
    "GIT_AUTHOR_EMAIL": "platform@corp.example",
    "GIT_COMMITTER_NAME": "Platform team",
    "GIT_COMMITTER_EMAIL": "platform@corp.example",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


class Repository:
    """A repository with the chart in `charts/tailseal`.

    Args:
        directory: where it is made.
        revision: whose chart.
    """

    def __init__(self, directory: Path, revision: str = "HEAD") -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch=main")
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", revision, "charts/tailseal"], capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", str(directory)], input=archive.stdout, check=True)

    @property
    def url(self) -> str:
        """As Argo CD is told it."""
        return f"file://{self.directory}"

    def write(self, name: str, content: str) -> None:
        """A file, not committed yet."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def remove(self, name: str) -> None:
        """Delete a file, not committed yet."""
        (self.directory / name).unlink()

    def commit(self, message: str) -> str:
        """Commit everything; the commit's id."""
        self._git("add", "--all")
        self._git("commit", "--quiet", f"--message={message}")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        argv = ["git", "-C", str(self.directory), *arguments]
        result = subprocess.run(argv, capture_output=True, text=True, check=True, env=os.environ | _AUTHOR)
        return result.stdout
