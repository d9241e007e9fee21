"""What `tailseal status` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tailseal.cli.output import envelope, printable, table

if TYPE_CHECKING:
    from tailseal.cli.status.found import Line, Survey

_HEADS: Final = ("KIND", "NAMESPACE", "NAME", "READY", "REASON", "WAITS FOR")
_NOTHING: Final = "-"
_WIDEST: Final = 160
"""Characters of a message in the table; the structured forms have all of it."""


def said(found: Survey, output: str, namespace: str = "") -> str:
    """All of it in the form asked for: `text`, `json`, `yaml` or `name`."""
    if output == "name":
        return "\n".join(f"{line.kind.kind.lower()}.{line.kind.group}/{line.name}" for line in found.lines)
    if output == "text":
        return _text(found, namespace)
    document = {"ready": found.well, "items": [_item(line) for line in found.lines], "refused": list(found.refused)}
    text = envelope("Status", document)
    if output == "json":
        return text
    import yaml  # noqa: PLC0415 - slow to import

    return str(yaml.safe_dump(json.loads(text), sort_keys=False)).rstrip()


def _text(found: Survey, namespace: str) -> str:
    if not found.lines:
        place = f" in namespace {namespace} yet; -A shows all namespaces." if namespace else " yet."
        return "" if found.refused else f"There is nothing of Tailseal's{place}"
    rows = [[_short(cell) for cell in _row(line)] for line in found.lines]
    notes = [f"{line.kind.kind} {line.namespace}/{line.name}: {note}" for line in found.lines for note in line.notes]
    waiting = sum(line.ready != "True" for line in found.lines)
    total = f"{len(found.lines)} object{'s' * (len(found.lines) != 1)}, "
    parts = [table(_HEADS, rows), *(printable(note) for note in notes)]
    return "\n\n".join(["\n".join(parts[:1]), *(["\n".join(parts[1:])] if notes else []), total + _count(waiting)])


def _count(waiting: int) -> str:
    return f"{waiting} not ready" if waiting else "all ready"


def _row(line: Line) -> tuple[str, ...]:
    return line.kind.kind, line.namespace, line.name, line.ready, line.reason or _NOTHING, line.waits_for or _NOTHING


def _short(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 1]}…"


def _item(line: Line) -> dict[str, Any]:
    return {
        "kind": line.kind.kind,
        "namespace": line.namespace,
        "name": line.name,
        "ready": line.ready,
        "reason": line.reason,
        "waitsFor": line.waits_for or None,
        "notes": list(line.notes),
    }
