"""The operator's question to a worker and its answer, both authenticated by the provider's poll key.

The operator must not believe whoever happens to answer on a pod's address, and a worker must not tell its
state to, or take a wanted digest from, anybody else. Both directions carry an HMAC-SHA256 over a purpose word
and the payload; the answer repeats the question's nonce, so that none can be replayed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tailseal.domain import canonical
from tailseal.domain.evidence import Report

PATH = "/-/status"
"""Where a worker's management port answers, by POST."""

KEY_FILE = "poll.key"
"""Name under which the key is kept beside the issuer's ledger."""

KEY_BYTES = 32
"""Length of the key."""

MAX_BYTES = 262_144
"""No question or answer is larger; more is refused unread."""

ACCEPTED_SKEW = 300.0
"""Seconds by which a question's time may differ from the worker's clock."""

CLOCK_SKEW = "ClockSkew"
"""The only thing that a replica says of itself when asked from too far away in time."""

_QUESTION = b"tailseal poll question v1\n"
_ANSWER = b"tailseal poll answer v1\n"


class PollError(Exception):
    """The envelope is not one that the holder of the key made for this purpose."""


class TooFarOff(PollError):  # noqa: N818 - what it is
    """The operator's question, but from another time: a replay, or one of two clocks is wrong.

    Args:
        nonce: of the question.
    """

    def __init__(self, nonce: str) -> None:
        super().__init__("the question's time is too far from this replica's clock")
        self.nonce = nonce


@dataclass(frozen=True, slots=True)
class Question:
    """Asked by the operator: a nonce, the operator's clock, and the digest per volume that is wanted."""

    nonce: str
    time: float
    wanted: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """Given by a worker; fields as in `Report`."""

    nonce: str
    pod_uid: str
    clock: float
    digests: Mapping[str, str]
    served: tuple[str, ...]
    held: tuple[str, ...]
    signing: Mapping[str, str]
    problems: tuple[str, ...] = ()
    revision: int = 0
    node: Mapping[str, str] = field(default_factory=dict)
    reads: int = 1

    @property
    def mute(self) -> bool:
        """Whether it tells only clock and `reads`, since the question was too old or too young to be trusted."""
        return self.problems == (CLOCK_SKEW,)

    def report(self, *, sent_at: float, heard_at: float) -> Report:
        """The answer as evidence, with the times at which we asked and heard it."""
        return Report(
            sent_at=sent_at,
            heard_at=heard_at,
            clock=self.clock,
            digests=dict(self.digests),
            served=frozenset(self.served),
            held=frozenset(self.held),
            signing=dict(self.signing),
            problems=self.problems,
            revision=self.revision,
            node=dict(self.node),
            reads=self.reads,
        )


def seal_question(question: Question, key: bytes) -> bytes:
    """The request body."""
    return _seal(_QUESTION, {"nonce": question.nonce, "time": question.time, "wanted": dict(question.wanted)}, key)


def open_question(body: bytes, key: bytes, *, now: float) -> Question:
    """The question in a request body.

    Raises:
        PollError: wrong key or wrong shape.
        TooFarOff: a time too far from ours.
    """
    payload = _open(_QUESTION, body, key)
    try:
        question = Question(str(payload["nonce"]), float(payload["time"]), _strings(payload["wanted"]))
    except (KeyError, TypeError, ValueError) as error:
        raise PollError("malformed question") from error
    if abs(question.time - now) > ACCEPTED_SKEW:
        raise TooFarOff(question.nonce)
    return question


def seal_answer(answer: Answer, key: bytes) -> bytes:
    """The response body."""
    payload = {
        "nonce": answer.nonce,
        "podUID": answer.pod_uid,
        "clock": answer.clock,
        "digests": dict(answer.digests),
        "served": list(answer.served),
        "held": list(answer.held),
        "signing": dict(answer.signing),
        "problems": list(answer.problems),
        "revision": answer.revision,
        "node": dict(answer.node),
        "reads": answer.reads,
    }
    return _seal(_ANSWER, payload, key)


def open_answer(body: bytes, key: bytes, *, nonce: str, pod_uid: str) -> Answer:
    """The answer in a response body, if it is this pod's to this question.

    Raises:
        PollError: wrong key, wrong shape, another question's or another pod's answer.
    """
    payload = _open(_ANSWER, body, key)
    try:
        answer = Answer(
            nonce=str(payload["nonce"]),
            pod_uid=str(payload["podUID"]),
            clock=float(payload["clock"]),
            digests=_strings(payload["digests"]),
            served=tuple(map(str, payload["served"])),
            held=tuple(map(str, payload["held"])),
            signing=_strings(payload["signing"]),
            problems=tuple(map(str, payload["problems"])),
            revision=int(payload.get("revision", 0)),
            node=_strings(payload.get("node", {})),
            reads=int(payload.get("reads", 1)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PollError("malformed answer") from error
    if answer.nonce != nonce:
        raise PollError("the answer is to another question")
    if answer.pod_uid != pod_uid:
        raise PollError("another pod answered on this address")
    return answer


def _seal(purpose: bytes, payload: dict[str, Any], key: bytes) -> bytes:
    content = canonical.dumps(payload)
    mac = hmac.new(key, purpose + content, hashlib.sha256).hexdigest()
    return canonical.dumps({"payload": content.decode(), "mac": mac})


def _open(purpose: bytes, body: bytes, key: bytes) -> dict[str, Any]:
    if len(body) > MAX_BYTES:
        raise PollError("too large")
    try:
        envelope = json.loads(body)
        content, mac = envelope["payload"].encode(), envelope["mac"].encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # anybody may have sent it
        raise PollError("not an envelope") from None
    if not hmac.compare_digest(hmac.new(key, purpose + content, hashlib.sha256).hexdigest().encode(), mac):
        raise PollError("wrong key")
    payload = json.loads(content)
    if not isinstance(payload, dict):
        raise PollError("malformed payload")
    return payload


def _strings(value: Any) -> dict[str, str]:  # noqa: ANN401 - what JSON held
    return {str(name): str(entry) for name, entry in value.items()}
