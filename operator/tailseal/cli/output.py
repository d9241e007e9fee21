"""What commands print: data on standard output in a versioned envelope, nothing that could steer a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

API_VERSION: Final = "cli.tailseal.dev/v1alpha1"
"""Of all JSON that commands print: members may be added, never renamed or taken away."""


def envelope(kind: str, content: Mapping[str, Any]) -> str:
    """A JSON document as `-o json` prints it."""
    return json.dumps({"apiVersion": API_VERSION, "kind": kind, **content}, indent=2)


def printable(text: str) -> str:
    """The text with everything escaped that is not printed as itself: colours, bells, and changes of direction."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their heads, aligned, without spaces at the ends of lines."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows))
    return "\n".join(line.rstrip() for line in lines)
