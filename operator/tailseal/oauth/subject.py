"""`sub`: the same everywhere, or one for each host that people are sent back to (OpenID Connect Core section 8.1)."""

from __future__ import annotations

import hmac
from hashlib import sha256

from tailseal.domain.clients.compile import CompiledClient
from tailseal.domain.keys.public import base64url


def salt_of(secret: bytes) -> bytes:
    """The salt of pairwise subjects.

    Args:
        secret: of the provider, which is kept for ever and never rotated.
    """
    return hmac.digest(secret, b"tailseal pairwise subjects 1", sha256)


def subject_for(client: CompiledClient, owner: str, salt: bytes) -> str:
    """`sub` as the client sees it.

    Args:
        client: whom it is for.
        owner: `userid:<id>` or `node:<id>`.
        salt: that nobody else knows.
    """
    if not client.sector:
        return owner
    return base64url(sha256(client.sector.encode() + b"\0" + owner.encode() + b"\0" + salt).digest())
