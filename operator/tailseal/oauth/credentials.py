"""Handles: what callers hold of something that is kept. They are random, and only their digests are kept."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from tailseal.domain.keys.public import base64url

RANDOM_BYTES: Final = 32
"""Of a handle: nobody guesses 256 bits."""


def handle(random: bytes) -> str:
    """A handle of that randomness, as unpadded base64url."""
    return base64url(random)


def digest(text: str) -> bytes:
    """What is kept of a handle."""
    return sha256(text.encode()).digest()
