"""Reads the folder: every YAML document of our kinds, and what cannot be read, by file."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml

from tailseal.api.kinds import KINDS
from tailseal.api.meta import API_VERSION

LARGEST: Final = 1024 * 1024
"""Bytes of one file: what the API server would take, and more than a person writes."""

_CORE: Final = frozenset({"Secret", "Namespace"})
"""Kinds of Kubernetes itself that say something here: keys and credentials; labels that bounds select by."""

_ENDINGS: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, order=True)
class FileProblem:
    """Something to put right.

    Args:
        file: name of the file, or empty if it is about the folder.
        path: field path within the manifest, or empty if it is about the file.
        message: what is wrong and what would be right.
    """

    file: str
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.path, self.message) if part)


class UnreadableError(ValueError):
    """A file that cannot be read as manifests; the message says where and why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file."""

    file: str
    obj: dict[str, Any]

    @property
    def kind(self) -> str:
        """As the document says."""
        return str(self.obj["kind"])

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return str(self.obj["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """`metadata.namespace`, or the one that a cluster would default to."""
        return str(self.obj["metadata"].get("namespace") or "default")

    @property
    def key(self) -> tuple[str, str, str]:
        """Kind, namespace and name: of two with the same, only the first counts."""
        return self.kind, self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Folder:
    """What the folder says now.

    Args:
        manifests: in the order of file names and places.
        problems: what could not be read.
        unreadable: names of files that are there but say nothing we could take.
    """

    manifests: tuple[Manifest, ...]
    problems: tuple[FileProblem, ...] = ()
    unreadable: frozenset[str] = frozenset()


def read(directory: Path) -> Folder:
    """Read all `*.yaml` and `*.yml` of the directory itself, hidden ones left out.

    Raises:
        OSError: the directory cannot be listed.
    """
    manifests: dict[tuple[str, str, str], Manifest] = {}
    problems: list[FileProblem] = []
    unreadable: set[str] = set()
    for path in sorted(directory.iterdir()):
        if not is_manifest(path):
            continue
        try:
            found = read_file(path)
        except UnreadableError as error:
            unreadable.add(path.name)
            problems.append(FileProblem(path.name, "", str(error)))
            continue
        for manifest in found:
            first = manifests.setdefault(manifest.key, manifest)
            if first is not manifest:
                text = f"{manifest.kind} {manifest.namespace}/{manifest.name} stands in {first.file} already"
                problems.append(FileProblem(path.name, "metadata.name", text))
    return Folder(tuple(manifests.values()), tuple(problems), frozenset(unreadable))


def read_file(path: Path) -> list[Manifest]:
    """Our objects of one file; those of a `List`, as kubectl prints it, count one by one.

    Raises:
        UnreadableError: it says nothing that we could take.
    """
    try:
        return list(_objects(path))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UnreadableError(_why(error)) from None


def is_manifest(path: Path) -> bool:
    """Whether a file of that name is looked at: `*.yaml` and `*.yml`, hidden ones left out."""
    return path.suffix in _ENDINGS and not path.name.startswith(".")


def _objects(path: Path) -> Iterator[Manifest]:
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"longer than {LARGEST} bytes")
    if not content:  # what many editors and `>` leave for a moment: nobody took its objects out
        raise ValueError("is empty: delete the file if what stood in it is to go")
    for document in yaml.load_all(content, Loader=_Loader):
        for obj in _single(document):
            if _is_ours(obj):
                yield Manifest(path.name, cast("dict[str, Any]", obj))


def _single(document: object) -> Iterator[object]:
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        yield from document["items"]
    elif document is not None:
        yield document


def _is_ours(document: object) -> bool:
    """Whether it is an object of our kinds, a Secret or a Namespace; other kinds are nobody's fault."""
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise ValueError("apiVersion, kind, metadata and spec are needed")  # noqa: TRY004 - of the content
    kind, version = document["kind"], document.get("apiVersion")
    if kind not in KINDS and kind not in _CORE:
        return False
    wanted = "v1" if kind in _CORE else API_VERSION
    if version != wanted:
        raise ValueError(f"apiVersion: {kind} needs {wanted}")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise ValueError("metadata.name: a name is needed")
    return True


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key that stands twice is a mistake, as it is to the API server."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """Refuse duplicates, which YAML libraries let pass in silence."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(getattr(key, "value", "") if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep=deep)


def _why(error: Exception) -> str:
    """Where and what, in one line, without quoting the file: it may hold a Secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or 'not YAML'}"
    if isinstance(error, yaml.YAMLError):
        return "not YAML"
    return str(getattr(error, "strerror", None) or error)
