"""What Argo CD says of an application, as text and as answers to questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tailseal_dev.argocd.manifests import APPLICATION
from tailseal_dev.argocd.server import NAMESPACE

_OURS = "tailseal.dev"
_SHOWN = 4
_HEADS = ("KIND", "NAME", "SYNC", "HEALTH", "MESSAGE")


@dataclass(frozen=True, slots=True)
class Status:
    """An application's status.

    Args:
        content: `status` of the object.
    """

    content: Mapping[str, Any]

    @property
    def sync(self) -> str:
        """`Synced`, `OutOfSync`, `Unknown`; empty before the first look."""
        return str(self.content.get("sync", {}).get("status", ""))

    @property
    def health(self) -> str:
        """`Healthy`, `Progressing`, `Degraded`, `Missing`, …; empty before the first look."""
        return str(self.content.get("health", {}).get("status", ""))

    @property
    def revisions(self) -> frozenset[str]:
        """The commits that it was compared with."""
        return frozenset(self.content.get("sync", {}).get("revisions", ()))

    def message(self, kind: str, name: str) -> str:
        """What is said of the health of one of our objects."""
        for entry in self._entries():
            if (entry["kind"], entry["name"]) == (kind, name):
                return str(entry.get("health", {}).get("message", ""))
        return ""

    def out_of_sync(self) -> list[str]:
        """The objects that are not as Git says."""
        found = [entry for entry in self.content.get("resources", ()) if entry.get("status") != "Synced"]
        return sorted(f"{entry['kind']}/{entry['name']}" for entry in found)

    def lines(self) -> list[str]:
        """As a person reads it."""
        operation = self.content.get("operationState", {})
        (revision, *_) = [*sorted(self.revisions), "none"]
        ran = f"{operation.get('phase', 'none')}: {operation.get('message', '')}".rstrip(": ")
        head = f"{self.sync or 'not looked at'}, {self.health or 'unknown'}, commit {revision[:8]}, last sync {ran}"
        total = len(self.content.get("resources", ()))
        rows = [_HEADS, *(self._row(entry) for entry in self._entries())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
        table = [
            " ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
        ]
        others = f"and {total - len(rows) + 1} objects of the chart; {self._differing()}"
        return [head, *(f"  {line[:116]}" for line in table if len(rows) > 1), f"  {others}"]

    def _differing(self) -> str:
        found = self.out_of_sync()
        if len(found) > _SHOWN:
            return f"{len(found)} of all are not as in Git"
        return f"not as in Git: {', '.join(found)}" if found else "all are as in Git"

    def _entries(self) -> list[Mapping[str, Any]]:
        return [entry for entry in self.content.get("resources", ()) if entry.get("group") == _OURS]

    def _row(self, entry: Mapping[str, Any]) -> tuple[str, ...]:
        health = entry.get("health", {})
        return (
            entry["kind"],
            entry["name"],
            entry.get("status", ""),
            health.get("status", ""),
            health.get("message", ""),
        )


def read(kubectl: Callable[..., str]) -> Status:
    """The application's status now; an empty one if there is no application."""
    answer = kubectl("get", "application", APPLICATION, f"--namespace={NAMESPACE}", "--ignore-not-found", "-o=json")
    return Status(json.loads(answer).get("status", {}) if answer else {})


def refresh(kubectl: Callable[..., str]) -> None:
    """Have Argo CD look at Git now, as a webhook would."""
    where = (f"application/{APPLICATION}", f"--namespace={NAMESPACE}")
    kubectl("annotate", *where, "argocd.argoproj.io/refresh=normal", "--overwrite")
