"""A worker whose clock is hours off, on a real tailnet: nobody becomes another, and what it cannot judge it refuses."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from fakes import exchange
from tailnet.corp import PORT, WIKI, job_asks, volumes
from tailseal_dev.tailnet import Tailnet
from tailseal_dev.tailnet.provider import Provider

pytestmark = pytest.mark.tailnet
HOURS = 2 * 3600.0


@pytest.fixture(params=[HOURS, -HOURS], ids=["fast", "slow"])
def off(tailnet: Tailnet, request: pytest.FixtureRequest) -> Iterator[tuple[Provider, float]]:
    """A provider, and by how much its clock is ahead."""
    directory = Path(tempfile.mkdtemp(prefix="clock-"))
    node, ahead = tailnet.nodes["idp"], request.param
    running = Provider(tailnet, node, volumes(tailnet), directory, issuer=exchange.OURS, port=PORT, ahead=ahead)
    running.start()
    yield running, ahead
    running.stop()
    shutil.rmtree(directory)


def test_callers_are_who_they_are_and_verifiers_refuse_what_they_are_given(off: tuple[Provider, float]) -> None:
    provider, ahead = off
    refused = jwt.ImmatureSignatureError if ahead > 0 else jwt.ExpiredSignatureError
    callers = {"alice": (f"audience={WIKI}", "userid:1"), "ci": ("policy=identity/machines", "node:")}
    for name, (asked, expected) in callers.items():
        status, body = provider.asked(provider.tailnet.nodes[name], "/issue", "--request", "POST", "--data", asked)
        assert status == 200, body + provider.log.read_text()
        given = json.loads(body)["token"]
        claims = jwt.decode(given, options={"verify_signature": False})
        assert claims["sub"].startswith(expected)
        assert abs(claims["iat"] - ahead - time.time()) < HOURS / 2
        with pytest.raises(refused):
            provider.verified(given)
    assert provider.asked(provider.tailnet.nodes["bob"], "/issue", "--request", "POST")[0] == 403


def test_tokens_of_others_are_refused_with_the_reason(off: tuple[Provider, float]) -> None:
    provider, ahead = off
    answer = job_asks(provider)
    assert answer["error"] == "invalid_request"
    assert "access_token" not in answer
    reason = provider.decisions()[-1]["data"]["reason"]
    assert reason == ("TokenExpired" if ahead > 0 else "TokenNotYetValid")
