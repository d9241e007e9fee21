"""Ledgers and material lost, spoilt or brought back from a backup, in any order: no law is broken by it.

A referee looks at the signing Secret every few seconds. It knows the promises (cache lifetime, skew, token lifetime)
and none of the operator's ledgers.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fakes.provider import ISSUER as ISSUER_URL
from fakes.provider import NS, files, provider, signing, signing_key, world
from fakes.world import World
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict, Transient
from tailseal.cluster.port import Object
from tailseal.domain import poll
from tailseal.domain.rotation import IssuerLedger

WAIT = 300 + 60
"""`jwks.maxAge` and `clockSkew`: for so long a new signer must have been published."""
LIFE = 600 + 60
"""The longest token lifetime and skew: for so long a former signer must stay published."""
STEP = 20.0

KEY, ISSUER = "corp-signingkey", "corp-issuer"


@dataclass
class Referee:
    """What was published and signed with at which instant."""

    seen: World
    past: list[tuple[float, frozenset[str], str]] = field(default_factory=list)

    def look(self) -> None:
        written = signing(self.seen)
        published = frozenset(key["kid"] for key in written["jwks"]["keys"])
        active = str(written["active"].get("ES256", ""))
        now = self.seen.clock.now()
        assert active in published | {""}, "a signer is published"
        former = self.past[-1][2] if self.past else active
        if active and active not in {former, self._last_signer()}:
            early = [at for at, kids, _ in self.past if at > now - WAIT and active not in kids]
            assert not early, f"law 1: {active} signs {now - early[-1]} s after a set without it"
        for at, _, signer in self.past:
            if signer and at > now - LIFE:
                assert signer in published, f"law 3: {signer} signed {now - at} s ago and is gone"
        self.past.append((now, published, active))

    def _last_signer(self) -> str:
        """Who signed before nobody did: a pause makes no cache forget it."""
        return next((signer for _, _, signer in reversed(self.past) if signer), "")

    async def watch(self, seconds: float) -> None:
        async for _ in self.seen.steps(seconds, STEP):
            self.look()


def rotate(seen: World) -> None:
    """Ask for another signer now."""
    text = {meta.ROTATE_ANNOTATION: _time(seen.clock.now())}
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["metadata"].update(annotations=text))


def _time(now: float) -> str:
    from tailseal.api.times import format_time  # noqa: PLC0415

    return format_time(now)


def put_back(seen: World, backup: dict[str, Object], *names: str) -> None:
    """As a restore does it: what is there is replaced, what is not is made."""
    for name in names:
        if seen.cluster.exists(kinds.SECRET, NS, name):
            data = copy.deepcopy(backup[name]["data"])
            seen.cluster.user_edit(kinds.SECRET, NS, name, lambda obj, data=data: obj.update(data=data))
        else:
            metadata = {key: backup[name]["metadata"][key] for key in ("name", "namespace", "labels")}
            seen.cluster.user_apply({**copy.deepcopy(backup[name]), "metadata": metadata})


def delete(*names: str) -> Callable[[World], None]:
    def act(seen: World) -> None:
        for name in names:
            seen.cluster.user_delete(kinds.SECRET, NS, name)

    return act


def spoil(name: str, change: Callable[[bytes], bytes | None]) -> Callable[[World], None]:
    """Change every file of a Secret; None takes it out."""

    def act(seen: World) -> None:
        def edit(obj: Object) -> None:
            changed = {file: change(base64.b64decode(text)) for file, text in obj["data"].items()}
            obj["data"] = {file: base64.b64encode(new).decode() for file, new in changed.items() if new is not None}

        seen.cluster.user_edit(kinds.SECRET, NS, name, edit)

    return act


def wipe_status(seen: World) -> None:
    for kind in (kinds.SIGNING_KEY, kinds.IDENTITY_PROVIDER):
        seen.cluster.user_edit(kind, NS, "corp", lambda obj: obj.pop("status", None))


def delete_everything(seen: World) -> None:
    for kind in (kinds.IDENTITY_PROVIDER, kinds.SIGNING_KEY):
        seen.cluster.user_delete(kind, NS, "corp")


async def running() -> Referee:
    """A referee over a world that signs."""
    seen = world(signing_key(), provider())
    await seen.converge()
    return Referee(seen)


LOSSES: dict[str, Callable[[World], None]] = {
    "key Secret deleted": delete(KEY),
    "key Secret truncated": spoil(KEY, lambda content: content[: len(content) // 2]),
    "key Secret emptied": spoil(KEY, lambda _: None),
    "key Secret with empty files": spoil(KEY, lambda _: b""),
    "issuer Secret deleted": delete(ISSUER),
    "issuer Secret truncated": spoil(ISSUER, lambda content: content[: len(content) // 2]),
    "issuer Secret emptied": spoil(ISSUER, lambda _: None),
    "both deleted": delete(KEY, ISSUER),
    "signing Secret deleted": delete("corp-signing"),
    "status wiped": wipe_status,
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_no_law_is_broken_by_a_loss(loss: str) -> None:
    referee = await running()
    await referee.watch(600)
    rotate(referee.seen)
    await referee.watch(200)  # in the middle of a rotation
    LOSSES[loss](referee.seen)
    await referee.watch(1800)
    wipe_status(referee.seen)
    await referee.watch(1800)


@pytest.mark.parametrize("order", [(KEY,), (ISSUER,), (KEY, ISSUER), (ISSUER, KEY)], ids=" then ".join)
async def test_no_law_is_broken_by_a_backup_that_comes_back(order: tuple[str, ...]) -> None:
    referee = await running()
    await referee.watch(600)
    backup = {name: copy.deepcopy(referee.seen.cluster.peek(kinds.SECRET, NS, name)) for name in (KEY, ISSUER)}
    for _ in range(2):
        rotate(referee.seen)
        await referee.watch(900)
    for name in order:
        put_back(referee.seen, backup, name)
        await referee.seen.converge()
    await referee.watch(3600)
    assert referee.past[-1][2], "it signs again"


@pytest.mark.parametrize("loss", [lambda _: None, delete(KEY), delete(ISSUER)])
async def test_everything_deleted_and_applied_again_breaks_no_law(loss: Callable[[World], None]) -> None:
    referee = await running()
    await referee.watch(600)
    delete_everything(referee.seen)
    await referee.seen.converge()
    loss(referee.seen)
    referee.seen.clock.value += 100
    for obj in (signing_key(), provider()):
        referee.seen.cluster.user_apply(obj)
    await referee.watch(1800)
    assert referee.past[-1][2], "it signs again"


@pytest.mark.parametrize("wiped", [(), (ISSUER,), (KEY,)], ids=["status", "issuer's ledger lost, too", "key lost, too"])
@pytest.mark.parametrize("names", [(KEY, ISSUER), (KEY,), (ISSUER,)], ids=" and ".join)
async def test_what_was_revoked_stays_so_though_the_list_is_shortened_and_backups_come_back(
    names: tuple[str, ...], wiped: tuple[str, ...]
) -> None:
    seen = (await running()).seen
    await seen.run_for(600)
    backup = {name: copy.deepcopy(seen.cluster.peek(kinds.SECRET, NS, name)) for name in (KEY, ISSUER)}
    kid = str(signing(seen)["active"]["ES256"])
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update(revokedKeyIDs=[kid]))
    await seen.run_for(100)
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update(revokedKeyIDs=[]))
    delete(*wiped)(seen)
    put_back(seen, backup, *names)
    for key in ("IdentityProvider", "SigningKey", "IdentityProvider"):
        with contextlib.suppress(Conflict, Transient):
            await seen.reconcile(key, NS, "corp")
        assert kid not in json.dumps(signing(seen))
    await seen.run_for(900)
    assert kid not in json.dumps(signing(seen))
    assert kid not in seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-jwks")["data"]["jwks.json"]
    assert signing(seen)["active"], "it signs again"


async def test_a_revoked_key_stays_so_where_only_the_issuer_remembers_it() -> None:
    seen = (await running()).seen
    await seen.run_for(600)
    backup = {KEY: copy.deepcopy(seen.cluster.peek(kinds.SECRET, NS, KEY))}
    kid = str(signing(seen)["active"]["ES256"])
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update(revokedKeyIDs=[kid]))
    await seen.run_for(100)
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update(revokedKeyIDs=[]))
    wipe_status(seen)
    put_back(seen, backup, KEY)
    await seen.run_for(900)
    assert kid not in json.dumps(signing(seen))
    assert kid not in seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-jwks")["data"]["jwks.json"]


async def test_all_secrets_lost_while_scaled_to_zero_is_no_first_start() -> None:
    """No replica is left to show that sets were served, but status remembers, and so do caches."""
    referee = await running()
    seen = referee.seen
    await referee.watch(600)
    seen.replicas.tell(NS, "corp", [])
    delete(KEY, ISSUER, "corp-signing")(seen)
    await seen.converge()
    lost = seen.clock.now()
    seen.replicas.tell(NS, "corp", None)
    await seen.run_for(WAIT - 30)
    assert signing(seen)["active"] == {}, f"law 1: a set without it was served {seen.clock.now() - lost} s ago"
    await seen.run_for(600)
    assert signing(seen)["active"]


def rename(seen: World, former: str, name: str) -> None:
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, former)
    seen.cluster.collect_garbage()
    seen.cluster.user_apply(provider(name))


def written(seen: World, name: str) -> tuple[str, set[str], bytes]:
    """Who signs, what is published, and the salt."""
    volume = files(seen, f"{name}-signing")
    found = json.loads(volume["signing.json"])
    published = {key["kid"] for key in found["jwks"]["keys"]}
    assert volume["salt"] == files(seen, f"{name}-issuer")["salt"]
    return found["active"].get("ES256", ""), published, volume["salt"]


async def test_a_provider_by_another_name_goes_on_with_what_its_issuer_left() -> None:
    """Keys that retire stay for as long as they were promised, and nobody's subject changes."""
    seen = (await running()).seen
    await seen.run_for(600)
    rotate(seen)
    await seen.run_for(WAIT + 120)
    before = written(seen, "corp")
    assert len(before[1]) == 3, "the former signer retires"
    rename(seen, "corp", "renamed")
    await seen.run_for(60)
    assert written(seen, "renamed") == before
    assert files(seen, "renamed-issuer")[poll.KEY_FILE] != files(seen, "corp-issuer")[poll.KEY_FILE]


async def test_a_provider_that_has_its_former_name_again_goes_on_with_the_later_ledger() -> None:
    seen = (await running()).seen
    await seen.run_for(600)
    rename(seen, "corp", "renamed")
    await seen.run_for(600)
    revoked = written(seen, "renamed")[0]
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update({"revokedKeyIDs": [revoked]}))
    await seen.run_for(60)
    rotate(seen)
    await seen.run_for(WAIT + 120)
    before = written(seen, "renamed")
    rename(seen, "renamed", "corp")
    await seen.run_for(60)
    assert written(seen, "corp") == before
    assert revoked not in before[1]
    assert revoked in IssuerLedger.from_json(files(seen, "corp-issuer")["ledger.json"]).revoked


async def test_a_provider_goes_on_with_what_its_issuer_left_although_its_former_name_is_another_issuers_now() -> None:
    seen = (await running()).seen
    await seen.run_for(600)
    rotate(seen)
    await seen.run_for(WAIT + 120)
    before = written(seen, "corp")
    kept = files(seen, "corp-issuer")
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, "corp")
    seen.cluster.user_apply(provider("corp", issuer="https://another.example"))
    seen.cluster.user_apply(provider("renamed"))
    await seen.run_for(60)
    assert written(seen, "renamed") == before
    assert files(seen, "corp-issuer") == kept


@pytest.mark.parametrize("spoilt", [False, True], ids=["of another issuer", "unreadable"])
async def test_what_is_no_history_of_the_issuer_is_not_taken_over(spoilt: bool) -> None:  # noqa: FBT001 - a case
    seen = (await running()).seen
    await seen.run_for(600)
    before = written(seen, "corp")
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, "corp")
    if spoilt:
        spoil(ISSUER, lambda content: content if content == ISSUER_URL.encode() else content[:-1])(seen)
        seen.cluster.user_apply(provider("renamed"))
    else:
        seen.cluster.user_apply(provider("renamed", issuer="https://another.example"))
    await seen.run_for(60)
    ledger = IssuerLedger.from_json(files(seen, "renamed-issuer")["ledger.json"])
    assert all(key.first_set != spoilt for key in ledger.keys), "verifiers may know of sets that we do not"
    assert files(seen, "renamed-issuer")["salt"] != before[2]


@pytest.mark.parametrize("rotations", [1, 3])
@pytest.mark.parametrize("order", [(KEY, ISSUER), (ISSUER, KEY)], ids=" then ".join)
async def test_no_law_is_broken_by_backups_that_come_back_minutes_apart(order: tuple[str, ...], rotations: int) -> None:
    """Also the signing Secret's own, which comes last."""
    referee = await running()
    await referee.watch(600)
    backup = {
        name: copy.deepcopy(referee.seen.cluster.peek(kinds.SECRET, NS, name)) for name in (KEY, ISSUER, "corp-signing")
    }
    for _ in range(rotations):
        rotate(referee.seen)
        await referee.watch(900)
    for name in order:
        put_back(referee.seen, backup, name)
        await referee.seen.converge()
        await referee.watch(120)
    put_back(referee.seen, backup, "corp-signing")
    await referee.seen.reconcile("IdentityProvider", NS, "corp")  # the operator sees it before any replica does
    await referee.watch(1800)
    assert referee.past[-1][2], "it signs again"
