"""What a caller does: exchange a token with nothing but an HTTP request, and verify what comes back."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import jwt

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON of an answer."""

    status: int
    content: dict[str, Any] = field(repr=False)

    @property
    def granted(self) -> bool:
        """Whether a token came back."""
        return self.status == 200  # noqa: PLR2004

    @property
    def token(self) -> str:
        """The token."""
        return str(self.content["access_token"])

    @property
    def reason(self) -> str:
        """Why not."""
        return str(self.content.get("tailseal_reason", ""))

    def explained(self) -> str:
        """Everything that the caller is told of a refusal, as who asks for text sees it."""
        told = self.content
        why = f"{self.reason}, decision {told.get('decision_id')}"
        return f"{told.get('error', self.status)}: {told.get('error_description')} ({why})"


class Caller:
    """A caller of one token endpoint.

    Args:
        base: URL of the service.
    """

    def __init__(self, base: str) -> None:
        self._base = base

    def exchange(self, subject_token: str, **parameters: str) -> Answer:
        """Ask for a token.

        Raises:
            OSError: nobody answers.
        """
        form = {
            "grant_type": GRANT,
            "subject_token": subject_token,
            "subject_token_type": JWT_TYPE,
            **parameters,
        }
        request = urllib.request.Request(f"{self._base}/token", urllib.parse.urlencode(form).encode())  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 - loopback
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.load(error))

    def wait(self, subject_token: str, wanted: Callable[[Answer], bool]) -> tuple[Answer, float]:
        """Ask again and again until the answer is as wanted; that answer, and the seconds it took.

        Raises:
            TimeoutError: it never was.
        """
        begun = time.perf_counter()
        while True:
            try:
                answer = self.exchange(subject_token)
            except OSError:
                answer = Answer(0, {})
            passed = time.perf_counter() - begun
            if wanted(answer):
                return answer, passed
            if passed > PATIENCE:
                raise TimeoutError(f"after {PATIENCE:g} s the answer still was: {answer.explained()}")
            time.sleep(0.01)

    def verified(self, token: str, *, issuer: str, audience: str) -> dict[str, Any]:
        """The token's claims, if the published keys verify it.

        Raises:
            jwt.PyJWTError: they do not.
        """
        with urllib.request.urlopen(f"{self._base}/.well-known/jwks.json", timeout=PATIENCE) as response:  # noqa: S310
            keys = jwt.PyJWKSet.from_dict(json.load(response))
        key = keys[jwt.get_unverified_header(token)["kid"]]
        claims: dict[str, Any] = jwt.decode(token, key, audience=audience, issuer=issuer)
        return claims
