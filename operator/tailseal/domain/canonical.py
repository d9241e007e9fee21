"""One byte form for equal content, so that digests can be compared wherever they were made."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any


def dumps(value: Any) -> bytes:  # noqa: ANN401 - anything JSON can say
    """Canonical JSON: sorted keys, no blanks, UTF-8, finite numbers only."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest(content: bytes) -> str:
    """`sha256:<hex>` of the bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def compress(content: bytes) -> bytes:
    """Gzip with no time stamp: equal content, equal bytes."""
    return gzip.compress(content, compresslevel=6, mtime=0)
