"""What stands in a state folder byte by byte, for tests that look there for what only its holder may know."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from pathlib import Path


def stored(folder: Path) -> bytes:
    """The database of a folder with its log, as they are on the disk now."""
    files = sorted(folder.glob("state.db*"))
    assert {"state.db", "state.db-wal"} <= {file.name for file in files}
    return b"\0".join(file.read_bytes() for file in files)


def leaked(folder: Path, secrets: Iterable[str]) -> list[str]:
    """Those that stand there: as they were given out, or as what they are made of."""
    found = stored(folder)
    return [secret for secret in secrets if any(form in found for form in _forms(secret))]


def _forms(secret: str) -> Iterator[bytes]:
    last = secret.rpartition(":")[2].rpartition(".")[2]
    for text in {secret, last, last.replace("-", "")}:
        yield text.encode()
        yield text.encode().hex().encode()
    try:
        raw = base64.b64decode(last + "=" * (-len(last) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return
    yield raw
    yield raw.hex().encode()
