"""Asks keys outside of this process for signatures: one thread for all of them, so the event loop never waits.

Most PKCS#11 libraries want one caller at a time, and one that hangs may cost us that thread, never more.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any, Final

import structlog

from tailseal.tokens.refusals import Outage
from tailseal.tokens.signers import RemoteSigner, Signer, SignerError
from tailseal.workers.common.bundle.snapshot import Snapshot

PATIENCE: Final = 5.0
"""Seconds that a caller waits for a signature."""

WAITING: Final = 64
"""Signatures asked for and not given yet; more are turned away at once."""

STEADY: Final = 30.0
"""Seconds after which a key that nobody asked is asked whether it can still sign."""

_PROBE: Final = b"tailseal signing probe"
_PAUSE: Final = 0.25
_LOOK: Final = 0.1

_log = structlog.get_logger(__name__)


class SigningUnavailable(Exception):  # noqa: N818 - what happened to the caller
    """No signature for now: `reason` is an `Outage`."""

    def __init__(self, reason: Outage) -> None:
        super().__init__(reason)
        self.reason = reason


class RemoteSigning:
    """The thread, started with the first signature."""

    def __init__(self, *, patience: float = PATIENCE, waiting: int = WAITING) -> None:
        self._patience, self._limit = patience, waiting
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._proofs: dict[RemoteSigner, _Proof] = {}

    async def sign(self, signer: Signer, signing_input: bytes) -> bytes:
        """A signature.

        Raises:
            SigningUnavailable: too many wait already, or the key is out of reach.
        """
        if self._jobs.qsize() >= self._limit:
            raise SigningUnavailable(Outage.OVERLOADED)
        try:
            signature: bytes = await self._run(partial(signer.sign, signing_input))
        except (SignerError, TimeoutError):
            raise SigningUnavailable(Outage.SIGNER_UNREACHABLE) from None
        return signature

    async def keep(self, current: Callable[[], Snapshot | None]) -> None:
        """See that the snapshot's keys can sign, and say when one cannot, until cancelled."""
        while True:
            snapshot = current()
            if snapshot is not None:
                await self.prove(snapshot)
            await asyncio.sleep(_LOOK)

    async def prove(self, snapshot: Snapshot) -> None:
        """Ask the keys whose turn it is for a signature; let go of those that the snapshot no longer has."""
        present: list[Any] = [signer for signer in snapshot.signing.signers.values() if signer.remote]
        for signer in self._proofs.keys() - set(present):
            del self._proofs[signer]
            await self._attempt(signer.close)
        for signer in present:
            proof = self._proofs.setdefault(signer, _Proof())
            if proof.due <= monotonic():
                proof.note(signer, await self._attempt(partial(signer.sign, _PROBE)))

    async def _attempt(self, job: Callable[[], Any]) -> str:
        """What went wrong, in words; empty: nothing."""
        try:
            await self._run(job)
        except SignerError as error:
            return str(error)
        except TimeoutError:
            return f"no answer for {self._patience:g} s"
        return ""

    async def _run(self, job: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the job gives
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="remote-signing", daemon=True)
            self._thread.start()
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return await asyncio.wait_for(asyncio.wrap_future(future), self._patience)

    def _work(self) -> None:
        while True:
            job, future = self._jobs.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = job()
            except SignerError as error:
                future.set_exception(error)
            except Exception as error:  # noqa: BLE001 - a library's fault must not end the thread
                future.set_exception(SignerError(f"the library failed: {type(error).__name__}"))
            else:
                future.set_result(result)


class _Proof:
    """When a key is to be asked next, and what was said of it last."""

    def __init__(self) -> None:
        self.due, self._pause, self._said = 0.0, _PAUSE, ""

    def note(self, signer: RemoteSigner, why: str) -> None:
        self._pause = min(self._pause * 2, STEADY) if why else _PAUSE
        self.due = monotonic() + (self._pause if why else STEADY)
        if why and why != self._said:
            _log.error("key cannot sign", kid=signer.kid, why=why)
        elif self._said and not why:
            _log.info("key signs again", kid=signer.kid)
        self._said = why
