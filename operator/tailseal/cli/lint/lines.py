"""Finds the line on which a field of a manifest stands; the nearest line around it, where that cannot be told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from tailseal.domain.policy.review.lint import ObjectKey

_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_MARK: Final = re.compile(r"line (\d+), column \d+: ")


class Lines:
    """The objects of one file with their places.

    Args:
        file: as it was named to the command.
    """

    def __init__(self, file: str) -> None:
        self._nodes = dict(reversed([(_key(node), node) for node in _objects(Path(file))]))

    def find(self, key: ObjectKey, path: str) -> int:
        """The line, counted from 1, of a field such as `spec.grants[0].name`; 0 if the object is not there."""
        node = self._nodes.get(key)
        if node is None:
            return 0
        line = node.start_mark.line
        for index, name in _STEP.findall(path):
            found = _below(node, int(index) if index else name)
            if found is None:
                break
            line, node = found
        return line + 1


def line_of_error(message: str) -> int:
    """The line that the message about an unreadable file names; 0 if it names none."""
    match = _MARK.match(message)
    return int(match[1]) if match else 0


def _objects(path: Path) -> Iterator[yaml.Node]:
    """Objects of a file that has been read before, those of a `List` one by one."""
    try:
        documents = list(yaml.compose_all(path.read_bytes(), Loader=yaml.SafeLoader))
    except (OSError, yaml.YAMLError):  # changed since
        return
    for document in documents:
        items = _below(document, "items")
        if _text(document, "kind") == "List" and items is not None and isinstance(items[1], yaml.SequenceNode):
            yield from items[1].value
        elif document is not None:
            yield document


def _key(node: yaml.Node) -> ObjectKey:
    metadata = _below(node, "metadata")
    about = metadata[1] if metadata is not None else node
    return _text(node, "kind"), _text(about, "namespace") or "default", _text(about, "name")


def _text(node: yaml.Node | None, name: str) -> str:
    found = _below(node, name)
    return str(found[1].value) if found is not None and isinstance(found[1], yaml.ScalarNode) else ""


def _below(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    """Line (from 0) and value of a member or an item."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: yaml.Node = node.value[step]
        return item.start_mark.line, item
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value == step:
                return name.start_mark.line, value
    return None
