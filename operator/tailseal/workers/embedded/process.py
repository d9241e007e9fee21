"""`tailseal serve` as a process: follows the folder, keeps the keys, and serves both workers' endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.applications import Starlette
from starlette.routing import Route
from watchfiles import awatch

from tailseal.domain.bundle import build
from tailseal.domain.evidence import Replica, Report
from tailseal.domain.rotation import LedgerError
from tailseal.state.protocol import StateUnavailable
from tailseal.state.sqlite import SQLiteStore
from tailseal.tailnet.static import Static
from tailseal.workers.common.bundle.problem import Problem
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.bundle.source import MemorySource
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.http.application import application
from tailseal.workers.common.http.serving import Listener
from tailseal.workers.common.worker import Place, Worker, stop_signal
from tailseal.workers.embedded import callers, manifests
from tailseal.workers.embedded.clients import admit
from tailseal.workers.embedded.household import Household, Reader
from tailseal.workers.embedded.keeper import Keeper
from tailseal.workers.embedded.manifests import FileProblem
from tailseal.workers.embedded.state import State, StateError
from tailseal.workers.exchange.explaining import explaining
from tailseal.workers.idp import app as idp
from tailseal.workers.sts import app as sts

LOOPBACK: Final = ("127.0.0.0/8", "::1", "localhost")
"""Hosts that the folder's policies may fetch keys from while only this machine can reach us."""

SOCKET: Final = "explain.sock"
"""File in the state folder that `tailseal explain --decision ID --socket PATH` asks."""

ONCE: Final = "once.db"
"""File in the state folder with what may count once and did."""

DEFAULT: Final = Address("127.0.0.1", 8080)

_LOOK_AGAIN: Final = 3600.0
_TRY_AGAIN: Final = 5.0
_MOST_STEPS: Final = 4
_DEBOUNCE_MS: Final = 80
_STEP_MS: Final = 20


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    Args:
        directory: the folder.
        state: where keys are kept.
        listen: None: where the provider's URL leads, if that is this machine.
        management: for health and metrics.
        open_hosts: hosts or ranges beyond the public internet that may be fetched from.
        callers: file with a table of who may call; None: nobody can log in.
    """

    directory: Path
    state: Path
    listen: Address | None
    management: Address
    open_hosts: tuple[str, ...] = ()
    callers: Path | None = None


@dataclass(slots=True)
class Embedded:
    """The folder, its keys and the worker that serves them.

    Args:
        options: see there.
        tell: told of all problems whenever they change, and of each thing that happened.
        state: the state folder, opened.
    """

    options: Options
    tell: Callable[[tuple[FileProblem, ...], tuple[str, ...]], None]
    state: State
    source: MemorySource = field(default_factory=MemorySource)
    household: Household = field(default_factory=lambda: Household(None))
    worker: Worker = field(init=False)
    _reader: Reader = field(init=False)
    _keeper: Keeper = field(init=False)
    _told: tuple[FileProblem, ...] | None = field(default=None)
    _refused: tuple[FileProblem, ...] = ()

    def __post_init__(self) -> None:
        listen = self.options.listen
        near = listen is None or listen.is_loopback
        self._reader = Reader((*(LOOPBACK if near else ()), *self.options.open_hosts))
        self._keeper = Keeper(self.state, new_key=_new_key, token=os.urandom)
        self.worker = Worker("serve", self.source, clock=time.time, pod_uid="serve", polled=False, observe=_silent)
        self.worker.state.local = _remembering(self.options.state / ONCE)

    def turn(self) -> float:
        """Bring what is served to what the folder says; seconds until time alone could change something."""
        wake_at: float | None = None
        happened: list[str] = []
        self._read()
        for _ in range(_MOST_STEPS):  # what is served is evidence, and evidence moves the keys on
            before = self.worker.loader.snapshot
            wake_at = self._keep(happened)
            self.worker.loader.refresh()
            if self.worker.loader.snapshot is before:
                break
        self._report(tuple(happened))
        return _LOOK_AGAIN if wake_at is None else min(_LOOK_AGAIN, max(0.05, wake_at - time.time()))

    async def run(self, started: Callable[[Listener, Listener], None]) -> None:
        """Serve until SIGTERM or SIGINT."""
        stop = stop_signal()
        place = Place(self.options.listen or address_of(self.household), self.options.management)
        following = asyncio.create_task(self._follow())
        following.add_done_callback(lambda _: stop.set())  # a folder that nobody follows must not go on granting
        try:
            beside = [explaining(self.worker.runtime, self.options.state / SOCKET)]
            app = _endpoints(self.worker, self._callers(place))
            await self.worker.run(app, place, stop=stop, started=started, beside=beside)
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    def _callers(self, place: Place) -> Static | None:
        """Made-up callers; raises `CallersError`, `MisplacedError`, `OSError` where there must be none."""
        if self.options.callers is None:
            return None
        return Static(callers.read(self.options.callers), (place.serving.host,), os.environ)

    async def _follow(self) -> None:
        changed = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_watch(self.options.directory, changed))
            await asyncio.sleep(0)  # it watches from its first step on: a change between reading and that would be lost
            while True:
                seconds = await asyncio.to_thread(self._try)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await changed.wait()
                changed.clear()

    def _try(self) -> float:
        """A turn; where the disk fails, what is served stays as it is and we try again."""
        try:
            return self.turn()
        except (LedgerError, StateError, OSError) as error:
            self._told = None
            self.tell((FileProblem("", "", str(error)),), ())
            return _TRY_AGAIN

    def _read(self) -> None:
        folder = manifests.read(self.options.directory)
        household = self._reader.read(folder)
        if household.provider is None and self.household.provider is not None:
            # The provider was taken away: its keys and settings stay as they are, and nothing is granted.
            former = self.household
            household = replace(household, provider=former.provider, wishes=former.wishes, settings=former.settings)
        self.household = household
        if household.settings is not None:
            own = household.settings.namespace
            files = build.shards(household.records, own).files
            clients, _ = build.clients(admit(household.clients, self.state, os.urandom), own)
            self.source.put("policies", build.policies_volume(household.settings, files, clients))
            self.source.put("credentials", household.credentials)

    def _keep(self, happened: list[str]) -> float | None:
        household, now = self.household, time.time()
        if household.provider is None:
            return None
        replicas = _replicas(self.worker.loader.snapshot, now)
        kept = self._keeper.step(
            household.wishes, household.provider.spec.issuer, household.issuer_spec(), replicas, now
        )
        self.source.put("signing", kept.files)
        happened += [event.message for event in kept.events]
        self._refused = tuple(
            FileProblem("", finding.path, f"SigningKey {name}: {finding.message}") for name, finding in kept.refused
        )
        return kept.wake_at

    def _report(self, happened: tuple[str, ...]) -> None:
        bundle = tuple(FileProblem("", "", f"{entry.reason}: {entry.message}") for entry in self.worker.loader.problems)
        problems = (*self.household.problems, *self._refused, *bundle)
        if problems != self._told or happened:
            self._told = problems
            self.tell(problems, happened)


def _remembering(file: Path) -> SQLiteStore:
    try:
        return SQLiteStore(file, clock=time.time)
    except StateUnavailable as error:
        raise StateError(str(error)) from None


def _endpoints(worker: Worker, known: Static | None) -> Starlette:
    """What both workers answer: the identity provider first, but for TailSTS's tokens, which are posted to `/`."""
    tailsts = {route.path: route for route in sts.routes(worker.runtime)}["/"]
    posted = Route("/", tailsts.endpoint, methods=["POST"] if known is not None else None)
    return application((posted, *idp.routes(idp.ports(worker, known))))


def address_of(household: Household) -> Address:
    """Where the provider's URL leads if that is plain http on this machine, else the default."""
    if household.provider is None:
        return DEFAULT
    url = urlsplit(build.base_url(household.provider.spec))
    if url.scheme != "http" or not url.hostname:
        return DEFAULT
    return Address("127.0.0.1" if url.hostname == "localhost" else url.hostname, url.port or 80)


async def _watch(directory: Path, changed: asyncio.Event) -> None:
    async for _ in awatch(directory, watch_filter=None, debounce=_DEBOUNCE_MS, step=_STEP_MS, recursive=False):
        changed.set()


def _replicas(snapshot: Snapshot | None, now: float) -> tuple[Replica, ...]:
    """This process as evidence, once it serves something."""
    if snapshot is None:
        return ()
    signing = snapshot.signing
    report = Report(
        sent_at=now,
        heard_at=now,
        clock=now,
        digests=snapshot.digests,
        served=frozenset(jwk["kid"] for jwk in signing.model.jwks["keys"]),
        held=frozenset(signing.proven),
        signing=dict(signing.model.active),
    )
    return (Replica("serve", "serve", "serve", ever_ready=True, ready=True, terminating=False, report=report),)


def _new_key(algorithm: str, rsa_bits: int) -> bytes:
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if algorithm in ("RS256", "PS256"):
        key = rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
    elif algorithm == "EdDSA":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = ec.generate_private_key(ec.SECP384R1() if algorithm == "ES384" else ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _silent(_volume: str, _problems: tuple[Problem, ...]) -> None:
    """Problems of the bundle are told with those of the folder."""
