"""What commands print: data on standard output in a versioned envelope, nothing that could steer a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

API_VERSION: Final = "cli.tailseal.dev/v1alpha1"
"""Of all JSON that commands print: members may be added, never renamed or taken away."""


def envelope(kind: str, content: Mapping[str, Any]) -> str:
    """A JSON document as `-o json` prints it."""
    return json.dumps({"apiVersion": API_VERSION, "kind": kind, **content}, indent=2)


def printable(text: str) -> str:
    """The text with everything escaped that is not printed as itself: colours, bells, and changes of direction."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
