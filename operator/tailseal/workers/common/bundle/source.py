"""Where a bundle's files come from: mounted volumes that a kubelet swaps, a plain folder, or this process's memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Final, Protocol

LARGEST_FILE: Final = 4 * 1024 * 1024
"""Bytes; a Secret or ConfigMap holds at most one MiB, so nothing of ours is larger."""

_CURRENT: Final = "..data"
_ATTEMPTS: Final = 3

Files = Mapping[str, bytes]


class Source(Protocol):
    """Files by volume."""

    def mark(self, volume: str) -> Hashable:
        """A value that differs whenever the volume's files may differ; cheap enough to ask ten times a second."""
        ...

    def read(self, volume: str) -> Files:
        """All files of the volume as of one instant; empty if it is not there.

        Raises:
            OSError: they cannot be read now.
        """
        ...


class DirectorySource:
    """One folder a volume below a directory.

    A kubelet makes each change of a volume visible by one rename of its link `..data`: everything is read
    from where that link points to, so a set is never read half old and half new.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def mark(self, volume: str) -> Hashable:
        """The link's target, or name, time, size and inode of each file."""
        folder = self._directory / volume
        try:
            return str((folder / _CURRENT).readlink())
        except OSError:
            return _listing(folder)

    def read(self, volume: str) -> Files:
        """All files; tried again where a swap removed the old set under our hands."""
        folder = self._directory / volume
        for _ in range(_ATTEMPTS - 1):
            try:
                return _read(_current(folder))
            except FileNotFoundError:
                continue
        return _read(_current(folder))


class MemorySource:
    """Files that the process itself made."""

    def __init__(self) -> None:
        self._volumes: dict[str, tuple[int, Files]] = {}

    def put(self, volume: str, files: Files) -> None:
        """Replace a volume as a whole; the same files again are no change."""
        count, present = self._volumes.get(volume, (0, None))
        if present != files:
            self._volumes[volume] = (count + 1, dict(files))

    def mark(self, volume: str) -> Hashable:
        """How often the volume was replaced."""
        return self._volumes.get(volume, (0,))[0]

    def read(self, volume: str) -> Files:
        """The present set."""
        return self._volumes[volume][1] if volume in self._volumes else {}


def _current(folder: Path) -> Path:
    link = folder / _CURRENT
    return link.resolve() if link.is_symlink() else folder


def _read(folder: Path) -> Files:
    if not folder.is_dir():
        return {}
    return {entry.name: _content(Path(entry.path)) for entry in os.scandir(folder) if _is_ours(entry)}


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_file()


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise OSError(f"{path.name} is larger than {LARGEST_FILE} bytes")
    return content


def _listing(folder: Path) -> Hashable:
    try:
        return tuple(sorted(_facts(entry) for entry in os.scandir(folder) if not entry.name.startswith(".")))
    except OSError:
        return None


def _facts(entry: os.DirEntry[str]) -> tuple[str, int, int, int]:
    found = entry.stat()
    return entry.name, found.st_mtime_ns, found.st_size if stat.S_ISREG(found.st_mode) else -1, found.st_ino
