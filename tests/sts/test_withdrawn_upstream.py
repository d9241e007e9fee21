"""An upstream that is another by now: what the former one gave is nobody's any more."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fakes.exchange import SETTINGS, SPEC, form, record
from fakes.outside import Outside, signed_by
from fakes.sts import House, Upstreams, post, snapshot
from tailseal.domain.bundle.model import TailscaleUpstream, Upstream, WorkloadIdentity
from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.index import PolicyIndex
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.exchange.token import TokenEndpoint

GRANT = SPEC | {"grants": [{"name": "tail", "tailscale": {"upstream": "prod", "scopes": ["a"]}}]}
IDENTITY = WorkloadIdentity(client_id="c", audience="https://aud.example", scopes=("a",))
TARGET = TailscaleUpstream(api_url="https://ts.example", credential="c")
SECRETS = {"c.client_id": b"id", "c.client_secret": b"secret", "d.client_secret": b"other"}


def under(target: TailscaleUpstream = TARGET, *, serial: int = 1, **secrets: bytes) -> Snapshot:
    upstream = Upstream(name="prod", tailscale=target)
    found = snapshot(SETTINGS.model_copy(update={"upstreams": (upstream,)}), GRANT, serial)
    return replace(found, credentials=SECRETS | {name.replace("_", ".", 1): value for name, value in secrets.items()})


@pytest.mark.parametrize(
    ("present", "asked"),
    [
        (under(serial=2), 1),
        (under(serial=2, d_client_secret=b"new"), 1),
        (under(serial=2, c_client_secret=b"new"), 2),
        (under(TARGET.model_copy(update={"api_url": "https://other.example"}), serial=2), 2),
        (under(TARGET.model_copy(update={"tailnet": "other"}), serial=2), 2),
        (under(TARGET.model_copy(update={"credential": "", "workload_identity": IDENTITY}), serial=2), 2),
    ],
    ids=["the same", "another's secret", "its secret", "its address", "its tailnet", "its identity"],
)
async def test_what_a_former_upstream_gave_is_thrown_away_and_the_present_one_is_asked(
    present: Snapshot, asked: int
) -> None:
    house = House()
    house.current = under()

    def change() -> None:
        house.current = present

    house.upstreams.meanwhile = change
    async with house.client() as client:
        answer = await post(client, form(scope="a"))
    assert answer.status_code == 200
    assert len(house.upstreams.asked) == asked


def with_both() -> Snapshot:
    """A grant of what an upstream gives, and one that needs none."""
    found = under()
    content = GRANT | {"grants": [*GRANT["grants"], *SPEC["grants"]]}
    return replace(found, index=PolicyIndex([compile_policy(record(content), found.settings)]))


class Swapping(House):
    """Bundles are swapped by another thread: between any two looks there may be another snapshot."""

    def __init__(self, first: Snapshot, then: Snapshot, looks: int) -> None:
        super().__init__()
        self.current, self.then, self.looks = first, then, looks

    def runtime(self) -> Runtime:
        def current() -> Snapshot | None:
            self.looks -= 1
            return self.current if self.looks >= 0 else self.then

        return replace(super().runtime(), current=current)


@pytest.mark.parametrize("looks", range(12))
@pytest.mark.parametrize("kind", ["upstream", "signature"])
async def test_what_is_withdrawn_between_any_two_looks_at_the_bundle_is_not_granted(kind: str, looks: int) -> None:
    if kind == "upstream":
        first, then = under(), replace(under(serial=2), index=PolicyIndex([]))
    else:
        first, then = signed_by(Outside()), replace(signed_by(Outside(), snapshot(serial=2)), index=PolicyIndex([]))
    house = Swapping(first, then, looks)
    async with house.client() as client:
        answer = await post(client)
    used = house.looks >= 0  # the change came after the answer
    assert answer.status_code == (200 if used else 400)


async def test_a_slow_upstream_takes_no_more_than_half_of_the_places() -> None:
    house, given = House(), asyncio.Event()
    house.current = with_both()

    class Slow(Upstreams):
        async def token(self, *given_to: Any, **fields: Any) -> Any:  # noqa: ANN401 - as the fake's
            await given.wait()
            return await super().token(*given_to, **fields)

    house.upstreams = Slow()
    transport = httpx.ASGITransport(TokenEndpoint(house.runtime(), limit=4))
    async with asyncio.timeout(60), httpx.AsyncClient(transport=transport, base_url="http://sts") as client:
        assert (await post(client, form(grant="api"))).status_code == 200
        waiting = [asyncio.create_task(post(client, form(grant="tail"))) for _ in range(3)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().json()["tailseal_reason"] for task in done] == ["Overloaded"]
        assert (await post(client, form(grant="api"))).status_code == 200
        given.set()
        assert sorted(answer.status_code for answer in await asyncio.gather(*waiting)) == [200, 200, 503]
