"""Watches a rotation from outside, under load: what each replica publishes, who signs, that every token verifies."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import kid_of, kids, verify
from tailseal_dev.demo.narrator import Disappointment
from tailseal_dev.demo.stage import Stage

COMPLETE_WITHIN = 300.0
_EVERY = 0.2
_MARGIN = 1.0
"""Seconds before a token expires from which on nobody relies on it."""
_CACHE_SECONDS = 10.0
"""`jwks.maxAge` of the demo's SigningKey: for so long an obedient cache keeps what it fetched."""


@dataclass(slots=True)
class Seen:
    """When things were first seen, in seconds since the rotation was asked for."""

    published: dict[str, float] = field(default_factory=dict)
    """Per replica: the new key in its JWKS."""
    signing: float | None = None
    gone: float | None = None
    checked: int = 0
    failed: list[str] = field(default_factory=list)


class Rotation:
    """One rotation of the key `corp`.

    Args:
        stage: where it happens.
        ci_token: a subject token that is granted.
    """

    def __init__(self, stage: Stage, ci_token: str) -> None:
        self._stage, self._ci_token = stage, ci_token
        (self._old,) = kids(stage.caller.jwks())
        self._started = time.monotonic()
        self._seen = Seen()
        self._tokens: list[tuple[str, float]] = []
        self._cached: list[tuple[float, Mapping[str, Any]]] = []
        self._replicas = stage.replicas()

    def watch(self) -> None:
        """Until the old key is gone; says and remembers what was seen.

        Raises:
            Disappointment: it does not come to an end.
        """
        while self._seen.gone is None:
            if self._elapsed() > COMPLETE_WITHIN:
                raise Disappointment(f"the rotation did not end within {COMPLETE_WITHIN:.0f} s: {self._seen}")
            self._look()
            self._sign()
            self._verify()
            time.sleep(_EVERY)
        self._conclude()

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _look(self) -> None:
        jwks = self._stage.caller.jwks()
        now = self._elapsed()
        self._cached = [(at, cached) for at, cached in self._cached if now - at < _CACHE_SECONDS] + [(now, jwks)]
        for replica, address in self._replicas.items():
            if replica not in self._seen.published and self._stage.caller.jwks_of_replica(address) - {self._old}:
                self._seen.published[replica] = self._elapsed()
                self._stage.cluster.told.output(f"{self._elapsed():5.1f} s  replica {replica} publishes two keys")
        if self._seen.signing is not None and self._old not in kids(jwks):
            self._seen.gone = now
            self._stage.cluster.told.output(f"{now:5.1f} s  the old key {self._old[:8]}… has left the JWKS")

    def _sign(self) -> None:
        asked = self._elapsed()
        answer = self._stage.caller.exchange(self._ci_token, audience=manifests.AUDIENCE, scope=manifests.SCOPE)
        if not answer.token:
            self._seen.failed.append(f"{asked:.1f} s: {answer.status} {answer.reason}")
            return
        expires = jwt.decode(answer.token, options={"verify_signature": False})["exp"]
        self._tokens.append((answer.token, float(expires)))
        if self._seen.signing is None and kid_of(answer.token) != self._old:
            self._seen.signing = self._elapsed()
            self._stage.cluster.told.output(
                f"{self._seen.signing:5.1f} s  the new key {kid_of(answer.token)[:8]}… signs"
            )

    def _verify(self) -> None:
        """Every token that is not expired, against the oldest and the newest set that a cache may hold now."""
        self._tokens = [(token, expires) for token, expires in self._tokens if expires - time.time() > _MARGIN]
        for _, jwks in (self._cached[0], self._cached[-1]):
            for token, expires in self._tokens:
                if expires - time.time() > _MARGIN:
                    self._check(token, jwks)

    def _check(self, token: str, jwks: Mapping[str, Any]) -> None:
        self._seen.checked += 1
        try:
            verify(token, jwks, issuer=self._stage.names.issuer, audience=manifests.AUDIENCE)
        except jwt.PyJWTError as error:
            text = f"{self._elapsed():.1f} s: token of key {kid_of(token)[:8]}…: {type(error).__name__}"
            self._seen.failed.append(text)

    def _conclude(self) -> None:
        told, seen = self._stage.cluster.told, self._seen
        everywhere = max(seen.published.values(), default=float("inf"))
        signing, gone = seen.signing or 0.0, seen.gone or 0.0
        told.fact("rotation asked for → two keys served by every replica", f"{everywhere:.1f} s")
        told.fact(
            "the new key signs only after every replica served it",
            f"{signing - everywhere:.1f} s later",
            holds=len(seen.published) == len(self._replicas) and signing > everywhere,
        )
        told.fact("the old key leaves the JWKS", f"{gone - signing:.1f} s after it last signed")
        told.fact(
            "tokens verified against every set an obedient cache may hold",
            f"{seen.checked} times, {len(seen.failed)} failures {'; '.join(seen.failed[:3])}".strip(),
            holds=not seen.failed and seen.checked > 0,
        )
