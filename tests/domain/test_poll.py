"""The poll envelope: what the holder of the key said is believed, everything else is refused."""

from __future__ import annotations

import pytest

from tailseal.domain import poll

KEY, OTHER = b"k" * 32, b"o" * 32
QUESTION = poll.Question(nonce="n1", time=1000.0, wanted={"signing": "sha256:aa"})
ANSWER = poll.Answer("n1", "uid-1", 1000.5, {"signing": "sha256:aa"}, ("k1", "k2"), ("k1",), {"ES256": "k1"}, ("slow",))


def test_a_question_survives_the_way() -> None:
    assert poll.open_question(poll.seal_question(QUESTION, KEY), KEY, now=1001.0) == QUESTION


def test_an_answer_survives_the_way() -> None:
    assert poll.open_answer(poll.seal_answer(ANSWER, KEY), KEY, nonce="n1", pod_uid="uid-1") == ANSWER


@pytest.mark.parametrize(
    ("body", "now"),
    [
        (poll.seal_question(QUESTION, OTHER), 1000.0),
        (poll.seal_answer(ANSWER, KEY), 1000.0),
        (poll.seal_question(QUESTION, KEY).replace(b"n1", b"n2"), 1000.0),
        (poll.seal_question(QUESTION, KEY), 1000.0 + poll.ACCEPTED_SKEW + 1),
        (b"", 1000.0),
        (b"[]", 1000.0),
        (b"x" * (poll.MAX_BYTES + 1), 1000.0),
        (b"[" * 200_000, 1000.0),
        (b'{"payload":"x","mac":"\\ud800"}', 1000.0),
        (b'{"payload":"\\ud800","mac":"x"}', 1000.0),
        (b'{"payload":"x","mac":["x"]}', 1000.0),
    ],
    ids=[
        *("other key", "an answer", "altered", "too old", "empty", "no envelope", "too large"),
        *("too deep", "half a character as mac", "half a character as payload", "no text as mac"),
    ],
)
def test_a_bad_question_is_refused(body: bytes, now: float) -> None:
    with pytest.raises(poll.PollError):
        poll.open_question(body, KEY, now=now)


@pytest.mark.parametrize(("nonce", "uid"), [("n2", "uid-1"), ("n1", "uid-2")], ids=["replayed", "another pod"])
def test_another_answer_is_refused(nonce: str, uid: str) -> None:
    with pytest.raises(poll.PollError):
        poll.open_answer(poll.seal_answer(ANSWER, KEY), KEY, nonce=nonce, pod_uid=uid)
