"""Two operators at once, by force: whoever planned from the past writes nothing over what is newer."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fakes.buckets import FakeBuckets
from fakes.cluster import FakeCluster
from fakes.provider import CONTROLLERS, NS, policy, provider, revoke, secret, signing, signing_key, world
from fakes.world import World
from tailseal.api import meta
from tailseal.api.times import format_time
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Transient
from tailseal.cluster.port import Object, Ref

PUBLISH = [
    {
        "name": "cdn",
        "objectStore": {"bucket": "keys", "credentialsSecretRef": {"name": "store"}},
        "publicURL": "https://cdn.example",
    }
]
WRITES = ("apply", "apply_status", "delete", "annotate", "merge")


class Interrupted:
    """The cluster, where another operator runs before one of our writes.

    Args:
        cluster: the same for both.
        meanwhile: what the other does.
        at: before which write, counted from 1.
    """

    def __init__(self, cluster: FakeCluster, meanwhile: Callable[[], Awaitable[None]], at: int) -> None:
        self._cluster, self._meanwhile, self._left = cluster, meanwhile, at

    @property
    def happened(self) -> bool:
        return self._left <= 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the cluster has
        plain = getattr(self._cluster, name)
        if name not in WRITES:
            return plain

        async def write(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            self._left -= 1
            if self._left == 0:
                await self._meanwhile()
            return await plain(*arguments, **named)

        return write


@dataclass
class Referee:
    """Looks at every write: nothing that was recorded is lost, and nothing that was revoked comes back."""

    keys: dict[str, set[str]] = field(default_factory=dict)
    revoked: dict[str, set[str]] = field(default_factory=dict)

    def __call__(self, change: str, obj: Object) -> None:
        name, data = obj["metadata"]["name"], obj.get("data") or {}
        if obj["kind"] != "Secret" or not data:
            return
        assert change != "DELETED", f"{name} is deleted"
        if "ledger.json" in data:
            ledger = json.loads(base64.b64decode(data["ledger.json"]))
            known = {key["kid"] for key in ledger.get("keys", ())} | set(ledger.get("revoked", {}))
            gone = self.keys.get(name, set()) - known
            assert name != "corp-signingkey" or not gone, f"keys are lost: {gone}"
            assert self.revoked.get(name, set()) <= set(ledger.get("revoked", {})), "a revocation is lost"
            self.keys[name], self.revoked[name] = known, set(ledger.get("revoked", {}))
        if name == "corp-signing":
            written = json.loads(base64.b64decode(data["signing.json"]))
            served = {key["kid"] for key in (*written["jwks"]["keys"], *written["held"])}
            assert not served & self.revoked.get("corp-issuer", set()), "what is revoked is served again"
            assert len(set(written["active"].values())) == len(written["active"])


def beside(seen: World) -> World:
    """Another operator on the same cluster."""
    other = World(CONTROLLERS)
    other.cluster, other.clock, other.replicas, other.outside = seen.cluster, seen.clock, seen.replicas, seen.outside
    other._lives = 1000  # its keys are its own
    other.restart()
    return other


async def both(build: Callable[[], World], act: Callable[[World], None], at: int) -> tuple[World, bool]:
    """The world after `act`, where the second operator did all there is to do before the first one's write number `at`.

    The first one sees nothing of that before it has run once; then both live on in turn.
    """
    seen = build()
    await seen.converge()
    await seen.run_for(5)
    act(seen)
    seen.cluster.listeners.append(Referee())
    other = beside(seen)
    seen.context.objects.freeze()  # type: ignore[attr-defined]
    interrupted = Interrupted(seen.cluster, lambda: other.run_for(3), at)
    seen.context = replace(seen.context, cluster=interrupted)  # type: ignore[arg-type]
    for key in seen.keys():  # noqa: SIM118 - no mapping
        with contextlib.suppress(Conflict, Transient):
            await seen.reconcile(key.controller, key.namespace, key.name)
    seen.context.objects.thaw()  # type: ignore[attr-defined]
    for operator in (seen, other, seen):
        await operator.run_for(3)
    return seen, interrupted.happened


def create(seen: World) -> None:
    for obj in (signing_key(), provider(), policy()):
        seen.cluster.user_apply(obj)


def rotate(seen: World) -> None:
    text = {meta.ROTATE_ANNOTATION: format_time(seen.clock.now())}
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["metadata"].update(annotations=text))


def reorder(seen: World) -> None:
    seen.cluster.user_apply(signing_key("second"))
    order = [{"name": "second"}, {"name": "corp"}]
    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", lambda obj: obj["spec"].update({"signingKeys": order}))


def lose_ledger(seen: World) -> None:
    seen.cluster.user_delete(kinds.SECRET, NS, "corp-signing")


def started() -> World:
    seen = world(
        signing_key(),
        provider(publish=PUBLISH),
        secret("store", access_key_id="AKIAEXAMPLE", secret_access_key="hunter2hunter2"),
    )
    seen.outside = FakeBuckets(hosts={"cdn.example": "keys"})
    seen.restart()
    return seen


@pytest.mark.parametrize(
    ("build", "act"),
    [(world, create), (started, rotate), (started, revoke), (started, reorder), (started, lose_ledger)],
    ids=["first start", "rotation", "revocation", "another default", "signing Secret lost"],
)
async def test_wherever_the_other_comes_between_one_key_signs_and_nothing_is_lost(
    build: Callable[[], World], act: Callable[[World], None]
) -> None:
    for at in range(1, 100):
        seen, happened = await both(build, act, at)
        if not happened:
            assert at > 2, "there are writes to come between"
            return
        written = signing(seen)
        ledger = _ledger(seen, "corp-issuer")
        assert written["active"] == ledger["active"]
        assert len(written["active"]) == 1
        published = {key["kid"] for key in written["jwks"]["keys"]}
        assert published == {key["kid"] for key in ledger["keys"]}
        assert set(written["active"].values()) <= published
        for name in [obj["metadata"]["name"] for obj in seen.cluster.all(kinds.SIGNING_KEY)]:
            states = [key["state"] for key in seen.cluster.peek(kinds.SIGNING_KEY, NS, name)["status"]["keys"]]
            assert states.count("Active") <= 1
            public = json.loads(seen.cluster.peek(kinds.CONFIG_MAP, NS, f"{name}-jwks")["data"]["jwks.json"])
            assert {key["kid"] for key in public["keys"]} == {
                key["kid"] for key in _ledger(seen, f"{name}-signingkey")["keys"] if not _gone(key)
            }
        assert await seen.idle_writes() == []
    raise AssertionError("still writing")


def _ledger(seen: World, name: str) -> dict[str, Any]:
    data = seen.cluster.peek(kinds.SECRET, NS, name)["data"]
    found: dict[str, Any] = json.loads(base64.b64decode(data["ledger.json"]))
    return found


def _gone(key: dict[str, Any]) -> bool:
    return key["retiredAt"] is not None or key["revokedAt"] is not None


async def test_keys_are_not_handed_out_over_a_secret_that_another_operator_wrote_meanwhile() -> None:
    """He wrote between our ledger and our signing Secret, and our watch has told us by then."""
    seen = world(signing_key(), provider())
    await seen.converge()
    await seen.run_for(600)
    rotate(seen)
    await seen.reconcile("SigningKey", NS, "corp")

    def meanwhile(verb: str, ref: Ref) -> ClusterError | None:
        if (verb, ref.name) == ("apply", "corp-issuer"):
            seen.cluster.user_edit(kinds.SECRET, NS, "corp-signing", lambda obj: obj["metadata"].update(annotations={}))
        return None

    seen.cluster.refuse = meanwhile
    before = signing(seen)
    with pytest.raises(Conflict):
        await seen.reconcile("IdentityProvider", NS, "corp")
    assert signing(seen) == before
    seen.cluster.refuse = lambda _verb, _ref: None
    await seen.run_for(600)
    assert signing(seen)["active"] != before["active"]
