"""Reads the manifests that a command is given by files and folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tailseal.workers.embedded.manifests import FileProblem, Manifest, UnreadableError, is_manifest, read_file


@dataclass(frozen=True, slots=True)
class Manifests:
    """What was read.

    Args:
        found: all objects of our kinds, in the order in which they were given; `file` is the path as given.
        problems: files that could not be read.
        files: how many files were looked at.
    """

    found: tuple[Manifest, ...]
    problems: tuple[FileProblem, ...] = ()
    files: int = 0

    @property
    def distinct(self) -> tuple[Manifest, ...]:
        """Of manifests for the same object only the first."""
        by_key: dict[tuple[str, str, str], Manifest] = {}
        for manifest in self.found:
            by_key.setdefault(manifest.key, manifest)
        return tuple(by_key.values())


def read_all(places: Iterable[Path], *, recursive: bool = False) -> Manifests:
    """Read files, and all manifests of folders.

    Args:
        places: files or folders that are there.
        recursive: whether folders within folders count, hidden ones left out.
    """
    found: list[Manifest] = []
    problems: list[FileProblem] = []
    files = list(dict.fromkeys(path for place in places for path in _files(place, recursive=recursive)))
    for path in files:
        try:
            found += (replace(manifest, file=str(path)) for manifest in read_file(path))
        except UnreadableError as error:
            problems.append(FileProblem(str(path), "", str(error)))
    return Manifests(tuple(found), tuple(problems), len(files))


def _files(place: Path, *, recursive: bool) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    for path in sorted(place.iterdir()):
        if path.is_dir() and recursive and not path.name.startswith("."):
            yield from _files(path, recursive=True)
        elif is_manifest(path) and path.is_file():
            yield path
