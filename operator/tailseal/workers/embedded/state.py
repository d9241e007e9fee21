"""What survives a restart: ledgers and key material in a private folder, each file replaced as a whole."""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tailseal.domain import canonical

_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600
_LOCK: Final = "lock"


class StateError(Exception):
    """The state cannot be used; says which file and why, never what stands there."""


class State:
    """A private folder with one file an entry, in use by one process at a time.

    Args:
        directory: made if it is not there, readable by us only, and ignored by git.

    Raises:
        StateError: not ours alone, in use, or not writable.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            directory.chmod(_PRIVATE_FOLDER)
            self._lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (directory / ".gitignore").write_text("*\n")
        except BlockingIOError:
            os.close(self._lock)
            raise StateError(f"{directory} is in use by another process") from None
        except OSError as error:
            raise StateError(f"{directory}: {error.strerror or error}") from None

    def close(self) -> None:
        """Let another process use it."""
        os.close(self._lock)

    def load(self, name: str) -> dict[str, bytes] | None:
        """The entry's data; None if there is none.

        Raises:
            StateError: it is there but not readable: it is never made anew.
        """
        path = self._path(name)
        try:
            stored: dict[str, Any] = json.loads(path.read_bytes())
            return {file: base64.b64decode(content, validate=True) for file, content in stored.items()}
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{path}: {error.strerror or error}") from None
        except (ValueError, TypeError, AttributeError):
            raise StateError(f"{path} is damaged: restore it from a backup, or remove it to begin anew") from None

    def save(self, name: str, data: Mapping[str, bytes]) -> None:
        """Replace the entry, if it differs: after a crash it is the old or the new one, whole.

        Raises:
            StateError: it cannot be written.
        """
        path = self._path(name)
        content = canonical.dumps({file: base64.b64encode(value).decode() for file, value in data.items()})
        try:
            if path.exists() and path.read_bytes() == content:
                return
            fresh = path.with_suffix(".new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE_FILE), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            self._settle()
        except OSError as error:
            raise StateError(f"{path}: {error.strerror or error}") from None

    def _settle(self) -> None:
        """Make the rename itself survive a power loss."""
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"
