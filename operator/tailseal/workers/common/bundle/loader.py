"""Keeps a worker's snapshot as new as its bundle: looks often, loads beside the traffic, swaps in one assignment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Final

from tailseal.domain.bundle.digest import volume_digest
from tailseal.domain.bundle.model import VOLUMES
from tailseal.domain.policy.index import PolicyIndex
from tailseal.workers.common.bundle.clients import LoadedClients
from tailseal.workers.common.bundle.policies import LoadedPolicies, PoliciesReader
from tailseal.workers.common.bundle.problem import BundleError, Problem
from tailseal.workers.common.bundle.signing import SigningReader
from tailseal.workers.common.bundle.snapshot import LoadedSigning, Snapshot
from tailseal.workers.common.bundle.source import Files, Source

INTERVAL: Final = 0.05
"""Seconds between two looks."""

Observer = Callable[[str, tuple[Problem, ...]], None]
"""Told after each attempt to load a volume what is wrong with it; empty: nothing."""


class Loader:
    """Last good for keys and settings, policy by policy for policies; `snapshot` is None until both are there.

    Args:
        source: where the files come from.
        clock: Unix seconds.
        observe: told of each attempt.
        swapped: told of each new snapshot, in the thread that loaded it.
    """

    def __init__(
        self,
        source: Source,
        *,
        clock: Callable[[], float],
        observe: Observer = lambda _volume, _problems: None,
        swapped: Callable[[Snapshot], None] = lambda _: None,
    ) -> None:
        self._source, self._clock, self._observe, self._swapped = source, clock, observe, swapped
        self._marks: dict[str, Hashable] = {}
        self._signing_reader, self._policies_reader = SigningReader(), PoliciesReader()
        self._signing: LoadedSigning | None = None
        self._policies: LoadedPolicies | None = None
        self._credentials: Files = {}
        self._index: tuple[tuple[object, ...], PolicyIndex] | None = None
        self._digests: dict[str, str] = {}
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._turn = threading.Lock()
        self.snapshot: Snapshot | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is not in use now."""
        return tuple(problem for volume in VOLUMES for problem in self._problems.get(volume, ()))

    def due(self) -> bool:
        """Whether a refresh would find something new."""
        until = self._policies.until if self._policies else None
        if until is not None and self._clock() >= until:
            return True
        return any(self._source.mark(volume) != self._marks.get(volume, ...) for volume in VOLUMES)

    def refresh(self) -> bool:
        """Load what changed; whether the snapshot was replaced. Threads take turns."""
        with self._turn:
            return self._refresh()

    def _refresh(self) -> bool:
        changed = [volume for volume in VOLUMES if self._changed(volume)]
        for volume in changed:
            self._load(volume)
        return bool(changed) and self._swap()

    async def run(self) -> None:
        """Look again and again, until cancelled; loading happens in a thread."""
        while True:
            await asyncio.sleep(INTERVAL)
            if self.due():
                await asyncio.to_thread(self.refresh)

    def _changed(self, volume: str) -> bool:
        mark = self._source.mark(volume)
        same = mark == self._marks.get(volume, ...)
        self._marks[volume] = mark
        if same and volume == "policies" and self._policies and self._policies.until is not None:
            return self._clock() >= self._policies.until
        return not same

    def _load(self, volume: str) -> None:
        loaders: Mapping[str, Callable[[Files], tuple[Problem, ...]]] = {
            "signing": self._load_signing,
            "policies": self._load_policies,
            "credentials": self._load_credentials,
        }
        try:
            problems = loaders[volume](self._source.read(volume))
        except BundleError as error:
            problems = (error.problem,)
        except OSError as error:
            self._marks.pop(volume, None)  # look again at once, whatever the mark says
            problems = self._unusable(volume, "Unreadable", error.strerror or str(error))
        except Exception as error:  # noqa: BLE001 - a file that nobody thought of must neither stop us nor be trusted
            problems = self._unusable(volume, "InternalFault", type(error).__name__)
        if not problems or problems != self._problems.get(volume):
            self._observe(volume, problems)
        self._problems[volume] = problems

    def _unusable(self, volume: str, reason: str, why: str) -> tuple[Problem, ...]:
        """A volume of which nothing is known any more: no reason to grant for ever."""
        if volume == "policies" and self._policies is not None:
            self._load_policies({})
        return (Problem(reason, f"{volume}: {why}"),)

    def _load_signing(self, files: Files) -> tuple[Problem, ...]:
        signing = self._signing_reader.read(files)
        if self._policies is not None:
            _check_issuer(signing, self._policies.settings.issuer)
        self._signing = signing
        self._digests["signing"] = volume_digest(files)
        return ()

    def _load_policies(self, files: Files) -> tuple[Problem, ...]:
        self._policies = self._policies_reader.read(files, self._clock())
        self._digests["policies"] = self._policies.complete
        return self._policies.problems

    def _load_credentials(self, files: Files) -> tuple[Problem, ...]:
        self._credentials = files
        self._digests["credentials"] = volume_digest(files)
        return ()

    def _swap(self) -> bool:
        if self._signing and self._policies and self._signing.model.issuer != self._policies.settings.issuer:
            self._load("signing")  # what was refused under the former settings may be what these are for
        policies, signing = self._policies, self._signing
        if policies is None or signing is None:
            return False
        try:
            _check_issuer(signing, policies.settings.issuer)
        except BundleError as error:  # what is for one issuer must not grant in another's name
            self._problems["signing"] = (error.problem,)
            self._observe("signing", self._problems["signing"])
            policies = replace(policies, policies=(), clients=LoadedClients())
        self.snapshot = snapshot = Snapshot(
            serial=self.snapshot.serial + 1 if self.snapshot else 1,
            signing=signing,
            settings=policies.settings,
            index=self._indexed(policies),
            credentials=self._credentials,
            digests=dict(self._digests),
            applied={**self._digests, "policies": policies.applied},
            policies=len(policies.policies),
            problems=tuple(sorted({problem.reason for problem in self.problems})),
            clients=policies.clients.by_id,
        )
        self._swapped(snapshot)
        return True

    def _indexed(self, policies: LoadedPolicies) -> PolicyIndex:
        if self._index is None or self._index[0] != policies.policies:
            self._index = (policies.policies, PolicyIndex(policies.policies))
        return self._index[1]


def _check_issuer(signing: LoadedSigning, issuer: str) -> None:
    if signing.model.issuer != issuer:
        text = f"signing.json is for {signing.model.issuer}, settings.json for {issuer}: they must be the same"
        raise BundleError("IssuerMismatch", text)
