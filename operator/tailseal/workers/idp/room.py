"""How much of the store one person, or the clients of one namespace, may take up: it is everybody's, and has an end."""

from __future__ import annotations

from time import monotonic
from typing import Final, Literal

from tailseal.oauth.errors import limited
from tailseal.workers.common.limits.bucket import Limiter
from tailseal.workers.common.limits.exchange import Rate

Use = Literal["code", "access", "ownAccess", "revoked"]

RATES: Final[dict[Use, Rate]] = {
    "code": Rate(30, 1000, 16_384),
    "access": Rate(1, 100, 16_384),
    "ownAccess": Rate(5, 500, 4096),
    "revoked": Rate(2, 200, 16_384),
}
"""Codes and opaque tokens of one person, opaque tokens of a namespace's clients in their own name, and tokens taken
back before their time: each a part of the store by the time that the first of them have expired."""


class Room:
    """What is left to everybody, in one process."""

    def __init__(self) -> None:
        self._limiters = {use: Limiter(*rate) for use, rate in RATES.items()}

    def take(self, use: Use, whose: str | bytes) -> None:
        """Draw for what is to be kept.

        Args:
            use: what for.
            whose: it is: a subject, a namespace, or an address.

        Raises:
            OAuthError: `temporarily_unavailable`, 429.
        """
        if wait := self._limiters[use].take(whose, monotonic()):
            text = "that is more than one person or application needs: wait a little"
            raise limited(wait, text, "TooMuchKept")
