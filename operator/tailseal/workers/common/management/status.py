"""Answers the operator's authenticated question with what this replica has loaded, serves and signs with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tailseal.domain import poll
from tailseal.domain.bundle.model import VERSION
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.management.staleness import Staleness


class Status:
    """The replica's side of the poll.

    Args:
        pod_uid: who we are.
        current: the present snapshot.
        staleness: told what is wanted.
        clock: Unix seconds.
    """

    def __init__(
        self, pod_uid: str, current: Callable[[], Snapshot | None], staleness: Staleness, clock: Callable[[], float]
    ) -> None:
        self._pod_uid, self._current, self._staleness, self._clock = pod_uid, current, staleness, clock
        self.node: Mapping[str, str] = {}
        """State, name and id of our node in the tailnet, as it last was; empty: there is none."""

    def answer(self, body: bytes) -> bytes | None:
        """The sealed answer, or None before the first snapshot: there is no key yet to know the operator by.

        Raises:
            PollError: the question is not the operator's.
        """
        snapshot, now = self._current(), self._clock()
        if snapshot is None:
            return None
        key = snapshot.signing.status_key
        try:
            question = poll.open_question(body, key, now=now)
        except poll.TooFarOff as far:  # may be a replay: our clock is told, for people to set, our release, and no more
            mute = poll.Answer(far.nonce, self._pod_uid, now, {}, (), (), {}, (poll.CLOCK_SKEW,), reads=VERSION)
            return poll.seal_answer(mute, key)
        self._staleness.hear(question, snapshot)
        return poll.seal_answer(self._report(question.nonce, snapshot, now), key)

    def _report(self, nonce: str, snapshot: Snapshot, now: float) -> poll.Answer:
        signing = snapshot.signing
        return poll.Answer(
            nonce=nonce,
            pod_uid=self._pod_uid,
            clock=now,
            digests=snapshot.digests,
            served=tuple(jwk["kid"] for jwk in signing.model.jwks["keys"] if "kid" in jwk),
            held=signing.proven,
            signing={
                algorithm: kid for algorithm, kid in signing.model.active.items() if now < signing.held[kid].sign_until
            },
            problems=(*snapshot.problems, *(["KeyCannotSign"] if len(signing.proven) < len(signing.held) else [])),
            revision=signing.model.revision,
            node=self.node,
            reads=VERSION,
        )
