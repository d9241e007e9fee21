"""Keeps tokens for kubectl until they expire: a file each, readable by the user alone, named by what was asked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

_FOLDER: Final = Path("tailseal") / "kubectl"
_LOCK: Final = ".lock"
_LARGEST: Final = 65_536


class Entry(NamedTuple):
    """A token, and when it expires in Unix seconds; of a person's login also what refreshes it, and until when."""

    token: str
    expires_at: float
    refresh: str = ""
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of tokens."""

    folder: Path | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Cache:
        """The user's (XDG Base Directory Specification); none where he has no home."""
        base, home = Path(environment.get("XDG_CACHE_HOME", "")), environment.get("HOME", "")
        if base.is_absolute():
            return cls(base / _FOLDER)
        return cls(Path(home) / ".cache" / _FOLDER if home else None)

    @staticmethod
    def key(*asked: object) -> str:
        """The name of what was asked; it tells nothing of it."""
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def get(self, key: str) -> Entry | None:
        """What is kept, unless somebody else could have read or written it."""
        if self.folder is None:
            return None
        try:
            self._check()
            with os.fdopen(os.open(self.folder / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                facts = os.fstat(file.fileno())
                ours = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
                return _entry(json.loads(file.read(_LARGEST))) if ours else None
        except (OSError, ValueError, RecursionError):
            return None

    def put(self, key: str, entry: Entry, now: float) -> str:
        """Keep it, and drop what has expired; why it is not kept, or nothing."""
        if self.folder is None:
            return "there is no home directory"
        fresh = self.folder / f".{secrets.token_hex(8)}"
        try:
            self._made()
            self._sweep(now)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(entry._asdict(), file)
            fresh.replace(self.folder / key)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            return f"{self.folder}: {error.strerror or 'cannot be written'}"
        return ""

    @contextlib.contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Nobody else is within it under that name meanwhile; where nothing can be kept, nobody waits."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                self._made()
                assert self.folder is not None  # noqa: S101 - else there would have been an error
                lock = os.open(self.folder / f"{key}{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                stack.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def drop(self, key: str) -> None:
        """Keep it no longer."""
        if self.folder is not None:
            (self.folder / key).unlink(missing_ok=True)

    def _made(self) -> None:
        if self.folder is None:
            raise FileNotFoundError(errno.ENOENT, "there is no home directory")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check()

    def _check(self) -> None:
        """Raises an OSError where somebody else could give one file the name of another: a token would go astray."""
        assert self.folder is not None  # noqa: S101 - asked before
        facts = self.folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "others than its user can write there")

    def _sweep(self, now: float) -> None:
        assert self.folder is not None  # noqa: S101 - asked before
        for path in self.folder.iterdir():
            if path.suffix == _LOCK:
                continue
            kept = self.get(path.name)
            old = kept is None and path.lstat().st_mtime < now - 3600
            if old or (kept is not None and max(kept.expires_at, kept.until) <= now):
                with contextlib.suppress(OSError):
                    path.unlink()


def _entry(document: Any) -> Entry | None:  # noqa: ANN401 - any JSON value
    if not isinstance(document, dict):
        return None
    token, expires_at = document.get("token"), document.get("expires_at")
    if not isinstance(token, str) or not isinstance(expires_at, int | float) or not token:
        return None
    refresh, until = document.get("refresh", ""), document.get("until", 0.0)
    if not isinstance(refresh, str) or not isinstance(until, int | float):
        return None
    return Entry(token, expires_at, refresh, until)
