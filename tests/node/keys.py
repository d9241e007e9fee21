"""Verifies tokens as applications do: with the key set that they hold, and once more just before each token's end.

The first finds a key that signed before everybody could know it, the second one that left before its last token ended.
"""

from __future__ import annotations

import re
import ssl
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import jwt

from tailseal_dev.demo.caller import verify

_LAST: Final = 2.0
"""Seconds before a token's end at which it is verified again; those that end as long after it are taken along."""


@dataclass(frozen=True, slots=True)
class _Given:
    token: str
    audience: str
    ends: float


@dataclass(slots=True)
class KeyCache:
    """Verifies each token with the key set that it has, until that is as old as allowed, and later with a fresh one.

    Args:
        address: where the key set is fetched.
        ca: certificate file that vouches for it.
        issuer: whose tokens they are.
        again: how many tokens were verified with a fresh key set, too.
        late: how many had ended before it was their turn.
    """

    address: str
    ca: Path
    issuer: str
    again: int = 0
    late: int = 0
    _held: Mapping[str, Any] = field(default_factory=dict)
    _until: float = 0.0
    _given: deque[_Given] = field(default_factory=deque)

    def verify(self, token: str, audience: str) -> Mapping[str, Any]:
        """The claims of a token. Tokens of before that are about to end are verified again.

        Raises:
            jwt.PyJWTError: one of them does not hold.
            httpx.HTTPError: the key set is not to be had.
        """
        if time.monotonic() >= self._until:
            self._held, age = self._fetch()
            self._until = time.monotonic() + age
        claims = verify(token, self._held, issuer=self.issuer, audience=audience)
        self._given.append(_Given(token, audience, claims["exp"]))
        if self._given[0].ends - time.time() < _LAST:
            self._look_again(2 * _LAST)
        return claims

    def finish(self, *, patient: bool) -> None:
        """Verify again what is left: at once, or each just before its end.

        Raises:
            jwt.PyJWTError: one does not hold.
            httpx.HTTPError: the key set is not to be had.
        """
        while self._given:
            if patient:
                time.sleep(max(0.0, self._given[0].ends - time.time() - _LAST))
            self._look_again(2 * _LAST if patient else float("inf"))

    def _look_again(self, within: float) -> None:
        """With a fresh key set: those that end in so many seconds."""
        fresh, _ = self._fetch()
        latest = time.time() + within
        while self._given and self._given[0].ends <= latest:
            given = self._given.popleft()
            try:
                verify(given.token, fresh, issuer=self.issuer, audience=given.audience)
            except jwt.ExpiredSignatureError:
                self.late += 1
            except jwt.PyJWTError:
                if time.time() < given.ends:  # whoever looks at one that has ended need not find its key
                    raise
                self.late += 1
            else:
                self.again += 1

    def _fetch(self) -> tuple[Mapping[str, Any], int]:
        """The key set, and for how many seconds it may be held."""
        answer = httpx.get(
            f"https://{self.address}/.well-known/jwks.json", verify=trusting(self.ca), timeout=60, trust_env=False
        ).raise_for_status()
        (age,) = re.findall(r"max-age=(\d+)", answer.headers["cache-control"])
        return answer.json(), int(age)


def trusting(ca: Path) -> ssl.SSLContext:
    """Believes whom the authority vouches for, whatever the name: a Service is reached by its address here."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    return context
