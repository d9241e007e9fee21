"""Tokens and keys by OAuth client, by our own assertion, from headscale; and upstreams that are down."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace

import pytest

from fakes.exchange import NOW, SETTINGS, ec_key
from fakes.tailscale import Reply
from fakes.upstreams import IDENTITY, World
from tailseal.egress.errors import EgressReason
from tailseal.tokens.signers import LocalSigner, SignerError
from tailseal.upstream.authkeys import AuthKey, KeyWish
from tailseal.upstream.breaker import FAILURES, LONGEST_REST, REST
from tailseal.upstream.errors import UpstreamError, UpstreamReason
from tailseal.upstream.tailscale import UpstreamToken

DECISION = "0123456789abcdef0123456789abcdef"
EVERYTHING = {"scopes": IDENTITY.scopes, "tags": IDENTITY.tags}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("tailseal.workers.common.outbound.upstreams._PAUSE", 0)
    return World()


def wish(*tags: str, ephemeral: bool = True) -> KeyWish:
    return KeyWish(tags or ("tag:ci",), ephemeral, 300, DECISION, "team-a/deploy.prod")


async def token(world: World, upstream: str = "prod", **asked: tuple[str, ...]) -> UpstreamToken:
    asked = {"scopes": ("devices:core",), "tags": ()} | asked
    return await world.upstreams.token(world.snapshot(), upstream, **asked)


async def reason(world: World, upstream: str = "prod", **asked: tuple[str, ...]) -> UpstreamReason:
    with pytest.raises(UpstreamError) as caught:
        await token(world, upstream, **asked)
    assert "canary" not in str(caught.value)
    return caught.value.reason


async def test_an_oauth_clients_token_has_just_the_scopes_and_tags_asked_for(world: World) -> None:
    given = await token(world, scopes=("auth_keys",), tags=("tag:ci",))
    assert world.api.tokens[given.access_token] == ({"auth_keys"}, {"tag:ci"})


async def test_an_assertion_of_ours_needs_no_stored_secret(world: World) -> None:
    snapshot = replace(world.snapshot(), credentials={})
    given = await world.upstreams.token(snapshot, "wif", **EVERYTHING)
    assert world.api.tokens[given.access_token] == (set(IDENTITY.scopes), set(IDENTITY.tags))
    (claims,) = world.api.assertions
    assert claims["iss"] == SETTINGS.issuer
    assert claims["sub"] == "tailseal:upstream:wif"
    assert claims["aud"] == IDENTITY.audience
    assert (claims["iat"], claims["exp"]) == (NOW, NOW + 60)


async def test_every_assertion_is_used_once(world: World) -> None:
    tokens = [await token(world, "wif", **EVERYTHING) for _ in range(3)]
    assert len({claims["jti"] for claims in world.api.assertions}) == 3
    assert len({given.access_token for given in tokens}) == 3


async def test_an_assertion_lives_no_longer_than_its_key_is_published(world: World) -> None:
    snapshot = world.snapshot()
    signing = replace(snapshot.signing, model=snapshot.signing.model.model_copy(update={"max_token_ttl": 20}))
    await world.upstreams.token(replace(snapshot, signing=signing), "wif", **EVERYTHING)
    assert world.api.assertions[0]["exp"] == NOW + 20


@pytest.mark.parametrize(
    "asked",
    [
        {"scopes": ("devices:core",), "tags": IDENTITY.tags},
        {"scopes": (*IDENTITY.scopes, "dns"), "tags": IDENTITY.tags},
        {"scopes": IDENTITY.scopes, "tags": ()},
        {"scopes": IDENTITY.scopes, "tags": ("tag:ci",)},
    ],
    ids=str,
)
async def test_what_cannot_be_narrowed_is_not_asked_for(world: World, asked: dict[str, tuple[str, ...]]) -> None:
    assert await reason(world, "wif", **asked) is UpstreamReason.SCOPE_REFUSED
    assert world.sent == 0


async def test_an_identity_that_was_given_more_than_is_declared_gives_nothing(world: World) -> None:
    assert world.api.identity is not None
    world.api.identity.scopes = (*IDENTITY.scopes, "all")
    assert await reason(world, "wif", **EVERYTHING) is UpstreamReason.WIDER


async def test_an_assertion_that_is_not_believed_is_our_credentials_fault(world: World) -> None:
    assert world.api.identity is not None
    world.api.identity.subject = "tailseal:upstream:other"
    assert await reason(world, "wif", **EVERYTHING) is UpstreamReason.CREDENTIAL_REFUSED


async def test_without_a_key_within_its_lease_there_is_no_assertion(world: World) -> None:
    snapshot = world.snapshot()
    signing = replace(
        snapshot.signing,
        held={kid: key.model_copy(update={"sign_until": NOW}) for kid, key in snapshot.signing.held.items()},
    )
    with pytest.raises(UpstreamError) as caught:
        await world.upstreams.token(replace(snapshot, signing=signing), "wif", **EVERYTHING)
    assert (caught.value.reason, world.sent) == (UpstreamReason.CREDENTIAL_MISSING, 0)


class Elsewhere:
    """The signer of `fakes.sts` as a key outside of this process."""

    alg, kid, remote, proven = "ES256", "k1", True, True

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.threads: set[str] = set()

    def sign(self, signing_input: bytes) -> bytes:
        self.threads.add(threading.current_thread().name)
        if self.broken:
            raise SignerError("out of reach")
        return LocalSigner(ec_key("ours"), "ES256", "k1").sign(signing_input)


@pytest.mark.parametrize("broken", [False, True])
async def test_a_key_outside_of_this_process_signs_assertions_off_the_event_loop(world: World, *, broken: bool) -> None:
    signer, snapshot = Elsewhere(broken=broken), world.snapshot()
    signing = replace(snapshot.signing, signers={"k1": signer})
    asked = world.upstreams.token(replace(snapshot, signing=signing), "wif", **EVERYTHING)
    if broken:
        with pytest.raises(UpstreamError) as caught:
            await asked
        assert (caught.value.reason, world.sent) == (UpstreamReason.CREDENTIAL_MISSING, 0)
    else:
        assert (await asked).access_token in world.api.tokens
    assert signer.threads == {"remote-signing"}


async def test_an_assertion_that_a_revoked_key_signed_in_the_meantime_is_sent_to_nobody(world: World) -> None:
    snapshot = world.snapshot()
    held = replace(snapshot, signing=replace(snapshot.signing, signers={"k1": Elsewhere()}))
    world.current = replace(snapshot, signing=replace(snapshot.signing, signers={}))
    with pytest.raises(UpstreamError) as caught:
        await world.upstreams.token(held, "wif", **EVERYTHING)
    assert (caught.value.reason, caught.value.retryable) == (UpstreamReason.CREDENTIAL_MISSING, True)
    assert world.sent == 0
    world.current = replace(held, serial=2)
    assert (await world.upstreams.token(held, "wif", **EVERYTHING)).access_token in world.api.tokens


@pytest.mark.parametrize("upstream", ["prod", "wif"])
async def test_a_key_is_for_one_node_with_just_these_tags(world: World, upstream: str) -> None:
    given = await world.upstreams.key(world.snapshot(), upstream, wish("tag:ci"))
    (made,) = world.api.keys
    assert given == AuthKey(made["key"], 300)
    assert made["capabilities"]["devices"]["create"] == {
        "reusable": False,
        "ephemeral": True,
        "preauthorized": True,
        "tags": ["tag:ci"],
    }
    assert made["expirySeconds"] == 300
    assert made["description"] == f"{DECISION} team-a deploy-pro"


async def test_the_token_that_makes_a_key_can_do_nothing_else(world: World) -> None:
    await world.upstreams.key(world.snapshot(), "prod", wish("tag:test", ephemeral=False))
    assert list(world.api.tokens.values()) == [({"auth_keys"}, {"tag:test"})]
    assert world.api.keys[0]["capabilities"]["devices"]["create"]["ephemeral"] is False


async def test_headscale_makes_a_key_of_nobody_but_the_tags(world: World) -> None:
    world.api.headscale = True
    given = await world.upstreams.key(world.snapshot(), "hs", wish("tag:ci"))
    assert given.key == "hskey-auth-0"
    assert world.api.asked == [
        (
            "preauthkey",
            {"reusable": False, "ephemeral": True, "expiration": "2027-01-15T08:05:00Z", "aclTags": ["tag:ci"]},
        )
    ]


async def test_headscales_own_api_gives_no_tokens(world: World) -> None:
    assert await reason(world, "hs") is UpstreamReason.UNKNOWN
    assert world.sent == 0


async def test_callers_at_the_same_time_get_keys_of_their_own(world: World) -> None:
    wishes = [wish("tag:ci"), wish("tag:test"), wish("tag:ci", "tag:test", ephemeral=False)] * 20
    given = await asyncio.gather(*(world.upstreams.key(world.snapshot(), "prod", one) for one in wishes))
    made = {key["key"]: key["capabilities"]["devices"]["create"] for key in world.api.keys}
    assert [made[one.key]["tags"] for one in given] == [list(one.tags) for one in wishes]
    assert [made[one.key]["ephemeral"] for one in given] == [one.ephemeral for one in wishes]


def made_otherwise(**device: object) -> Reply:
    create = {"reusable": False, "ephemeral": True, "preauthorized": True, "tags": ["tag:ci"]} | device
    return Reply(
        200, json.dumps({"key": "tskey-auth-canary", "capabilities": {"devices": {"create": create}}}).encode()
    )


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (made_otherwise(reusable=True), UpstreamReason.WIDER),
        (made_otherwise(tags=["tag:ci", "tag:admin"]), UpstreamReason.WIDER),
        (made_otherwise(tags="tag:ci"), UpstreamReason.WIDER),
        (Reply(200, b'{"key": ""}'), UpstreamReason.MALFORMED),
        (Reply(200, b"[]"), UpstreamReason.MALFORMED),
        (Reply(400, b'{"message": "requested tags are invalid"}'), UpstreamReason.SCOPE_REFUSED),
        (Reply(403, b'{"message": "no"}'), UpstreamReason.SCOPE_REFUSED),
        (Reply(401, b"{}"), UpstreamReason.CREDENTIAL_REFUSED),
        (Reply(500, b"{}"), UpstreamReason.UNAVAILABLE),
    ],
)
async def test_a_key_that_is_not_the_one_asked_for_is_thrown_away(
    world: World, reply: Reply, expected: UpstreamReason
) -> None:
    world.failing = [None, reply]
    with pytest.raises(UpstreamError) as caught:
        await world.upstreams.key(world.snapshot(), "prod", wish("tag:ci"))
    assert caught.value.reason is expected
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("file", ["prod.client_id", "prod.client_secret"])
async def test_a_credential_that_is_not_here_yet_is_said(world: World, file: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        await world.upstreams.token(world.snapshot(**{file: None}), "prod", scopes=("acls",), tags=())
    assert (caught.value.reason, world.sent) == (UpstreamReason.CREDENTIAL_MISSING, 0)


async def test_a_broken_connection_is_tried_once_more_for_a_token_and_never_for_a_key(world: World) -> None:
    world.failing = [EgressReason.UNREACHABLE]
    assert (await token(world)).access_token
    assert world.sent == 2
    world.failing = [EgressReason.TIMEOUT]
    assert await reason(world) is UpstreamReason.UNAVAILABLE
    assert world.sent == 3
    world.failing = [None, EgressReason.UNREACHABLE]
    with pytest.raises(UpstreamError):
        await world.upstreams.key(world.snapshot(), "prod", wish())
    assert world.sent == 5


async def down(world: World, times: int = FAILURES) -> None:
    for _ in range(times):
        world.failing = [EgressReason.TIMEOUT]
        assert await reason(world) is UpstreamReason.UNAVAILABLE


async def test_an_upstream_that_is_down_rests_and_is_then_tried_by_one(world: World) -> None:
    await down(world)
    sent = world.sent
    assert await reason(world) is UpstreamReason.RESTING
    world.ticks += REST - 0.1
    assert await reason(world) is UpstreamReason.RESTING
    assert world.sent == sent
    world.ticks += 0.2
    results = await asyncio.gather(*(token(world) for _ in range(10)), return_exceptions=True)
    assert world.sent == sent + 1
    assert sum(isinstance(result, UpstreamToken) for result in results) == 1
    assert (await token(world)).access_token
    assert 'result="UpstreamResting"' in world.metrics.render().decode()


async def test_each_rest_is_longer_up_to_a_limit(world: World) -> None:
    await down(world)
    rests = []
    for _ in range(8):
        before = world.ticks
        while await reason(world) is UpstreamReason.RESTING:
            world.ticks += 1.0
            world.failing = [EgressReason.TIMEOUT]
        rests.append(world.ticks - before)
    assert rests == sorted(rests)
    assert rests[-1] == LONGEST_REST


async def test_other_upstreams_do_not_rest_with_it(world: World) -> None:
    await down(world)
    assert (await token(world, "wif", **EVERYTHING)).access_token


async def test_the_wait_that_the_upstream_asks_for_is_kept(world: World) -> None:
    world.failing = [Reply(429, b"{}", {"retry-after": "20"})]
    assert await reason(world) is UpstreamReason.UNAVAILABLE
    world.ticks += 19
    assert await reason(world) is UpstreamReason.RESTING
    world.ticks += 2
    assert (await token(world)).access_token


@pytest.mark.parametrize(
    "reply",
    [Reply(500, b"{}"), Reply(400, b"{}"), Reply(403, b"{}"), Reply(401, b"{}"), Reply(404, b"")],
    ids=lambda reply: str(reply.status),
)
async def test_nobody_can_make_it_rest_by_asking_for_what_it_refuses(world: World, reply: Reply) -> None:
    for _ in range(2 * FAILURES):
        world.failing = [reply]
        assert await reason(world) is not UpstreamReason.RESTING
    assert (await token(world)).access_token


async def test_what_was_never_asked_says_nothing_of_the_upstream(world: World) -> None:
    """Neither does it wake one that rests, nor does it take the place of the one that tries again."""
    for _ in range(FAILURES - 1):
        world.failing = [EgressReason.TIMEOUT]
        assert await reason(world, "wif", **EVERYTHING) is UpstreamReason.UNAVAILABLE
        assert await reason(world, "wif", scopes=("dns",)) is UpstreamReason.SCOPE_REFUSED
    world.failing = [EgressReason.TIMEOUT]
    assert await reason(world, "wif", **EVERYTHING) is UpstreamReason.UNAVAILABLE
    assert await reason(world, "wif", **EVERYTHING) is UpstreamReason.RESTING
    world.ticks += REST
    assert await reason(world, "wif", scopes=("dns",)) is UpstreamReason.SCOPE_REFUSED
    assert (await token(world, "wif", **EVERYTHING)).access_token
