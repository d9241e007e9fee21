"""The command line and environment of a container's process: pure.

Processes share the machine's file system, so a mount path cannot be mounted. Every absolute path in arguments and
environment that is a mount path, lies below one, or leads to one, is moved below the pod's own root directory.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailseal_dev.localnode.fields import Object, UnsupportedError, field

ENTRYPOINT = (sys.executable, "-m", "tailseal")
"""What an image of this project starts; images themselves are not looked at."""

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")
_PATH = re.compile(r"(?<![^\s=,:;'\"])/[^\s=,:;'\"]+")


@dataclass(frozen=True, slots=True)
class Process:
    """What to run: arguments and the whole environment."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


def process(container: Object, pod: Object, root: Path, base: Mapping[str, str]) -> Process:
    """The process of a container.

    Args:
        container: an entry of the pod's `containers`.
        pod: the pod; its `status.podIP` is already known.
        root: the pod's own root directory, below which volumes appear at their mount paths.
        base: environment that every container gets.

    Raises:
        UnsupportedError: the container wants environment from where this node has none.
    """
    mounts = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    environment = _environment(container.get("env", []), pod)
    command = _entrypoint(container.get("command", []))
    argv = [*command, *container.get("args", [])]
    moved = {name: moved_paths(value, mounts, root) for name, value in environment.items()}
    words = tuple(moved_paths(expand(word, environment), mounts, root) for word in argv)
    return Process(words, {**base, **moved})


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where the name is known, `$$` by `$`; anything else stays, as Kubernetes has it."""

    def replaced(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else values.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


def moved_paths(text: str, mounts: Iterable[str], root: Path) -> str:
    """The text with paths that have to do with a mount moved below `root`."""
    listed = [mount.rstrip("/") for mount in mounts]

    def moved(match: re.Match[str]) -> str:
        path = match[0].rstrip("/")
        related = any(f"{path}/".startswith(f"{mount}/") or mount.startswith(f"{path}/") for mount in listed)
        return f"{root}{match[0]}" if related else match[0]

    return _PATH.sub(moved, text)


def _entrypoint(command: Sequence[str]) -> list[str]:
    if not command:
        return list(ENTRYPOINT)
    return [*ENTRYPOINT, *command[1:]] if command[0] == "tailseal" else list(command)


def _environment(entries: Sequence[Object], pod: Object) -> dict[str, str]:
    values: dict[str, str] = {}
    for entry in entries:
        if "valueFrom" in entry:
            if "fieldRef" not in entry["valueFrom"]:
                raise UnsupportedError(f"env {entry['name']!r} from {', '.join(entry['valueFrom'])}")
            values[entry["name"]] = field(pod, entry["valueFrom"]["fieldRef"]["fieldPath"])
        else:
            values[entry["name"]] = expand(entry.get("value", ""), values)
    return values
