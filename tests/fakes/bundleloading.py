"""A worker's loader of bundles on a bench, with a clock that tests move."""

from __future__ import annotations

from fakes import bundles, exchange
from tailseal.workers.common.bundle.loader import Loader
from tailseal.workers.common.bundle.source import MemorySource

Files = dict[str, bytes]


class Clock:
    def __init__(self) -> None:
        self.now = exchange.NOW

    def __call__(self) -> float:
        return self.now


class Bench:
    """A loader over files in memory."""

    def __init__(self, source: MemorySource | None = None) -> None:
        self.clock = Clock()
        self.source = source or bundles.source()
        self.loader = Loader(self.source, clock=self.clock)
        self.loader.refresh()

    def put(self, volume: str, files: Files) -> None:
        self.source.put(volume, files)
        if self.loader.due():
            self.loader.refresh()

    def after(self, seconds: float) -> None:
        self.clock.now += seconds
        if self.loader.due():
            self.loader.refresh()

    @property
    def granting(self) -> set[str]:
        assert self.loader.snapshot
        return {policy.name for policy in self.loader._policies.policies} if self.loader._policies else set()

    @property
    def reasons(self) -> list[str]:
        return [problem.reason for problem in self.loader.problems]

    @property
    def kid(self) -> str | None:
        assert self.loader.snapshot
        signer = self.loader.snapshot.signing.signer("", self.clock())
        return signer.kid if signer else None


def without(files: Files, *names: str) -> Files:
    return {name: content for name, content in files.items() if name not in names}


def broken(files: Files, name: str, content: bytes) -> Files:
    return files | {name: content}
