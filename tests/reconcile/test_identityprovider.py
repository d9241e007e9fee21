"""An IdentityProvider on the fake cluster: it converges whatever happens, and repairs what it owns."""

from __future__ import annotations

import base64
import json

import pytest

from fakes.provider import (
    NS,
    OWNED,
    assert_ready,
    conditions,
    files,
    message,
    policy,
    provider,
    signing,
    signing_key,
    standard,
    status,
    world,
)
from fakes.world import World, crash_everywhere, fail_everywhere, in_any_order
from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict, Forbidden
from tailseal.cluster.port import Ref
from tailseal.reconcile.context import OperatorSettings
from tailseal.reconcile.identityprovider import controller as identityprovider


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def test_it_becomes_ready_and_then_rests() -> None:
    seen = standard()
    await seen.converge()
    assert_ready(seen)
    assert await seen.idle_writes() == []
    await seen.run_for(120)
    assert await seen.idle_writes() == []


async def test_it_says_what_was_measured() -> None:
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    found = status(seen)
    assert found["observedGeneration"] == 1
    assert (found["replicas"], found["servingReplicas"], found["attachedPolicies"]) == (3, 3, 1)
    assert found["bundleDigest"].startswith("sha256:")
    assert {entry["name"]: entry["url"] for entry in found["endpoints"]} == {
        "sts": "http://corp-sts.identity.svc",
        "idp": "http://corp-idp.identity.svc",
        "jwks": "https://idp.corp.example/.well-known/jwks.json",
    }
    assert set(conditions(seen)) == {"Accepted", "ResolvedRefs", "Programmed", "Ready"}


async def test_it_converges_in_any_order() -> None:
    await in_any_order(standard, assert_ready)


def nothing_yet() -> World:
    return world()


def apply_all(seen: World) -> None:
    for obj in (signing_key(), provider(), policy()):
        seen.cluster.user_apply(obj)


async def test_the_first_set_has_the_keys_of_every_listed_signing_key() -> None:
    listed = provider(signingKeys=[{"name": "corp"}, {"name": "corp-rs"}])
    for order in range(8):
        seen = world(signing_key(), signing_key("corp-rs", algorithm="RS256"), listed, order=order)
        await seen.converge()
        assert set(signing(seen)["active"]) == {"ES256", "RS256"}


async def test_a_listed_signing_key_that_is_refused_holds_nothing_up() -> None:
    listed = provider(signingKeys=[{"name": "corp"}, {"name": "bad"}])
    seen = world(signing_key(), signing_key("bad", source={"pkcs11": {}}), listed)
    await seen.converge()
    assert set(signing(seen)["active"]) == {"ES256"}
    assert conditions(seen)["ResolvedRefs"] == ("False", "RefNotReady")
    assert "spec.signingKeys[1]: SigningKey bad has no key and is not accepted" in message(seen, "ResolvedRefs")


async def test_a_second_operator_with_a_stale_view_cannot_bring_a_revoked_key_back() -> None:
    seen = standard()
    await seen.converge()
    (revoked,) = signing(seen)["active"].values()
    edited = json.dumps({**signing(seen), "maxAge": 301}).encode()
    seen.cluster.user_edit(
        kinds.SECRET, NS, "corp-signing", lambda obj: obj["data"].update({"signing.json": encode(edited)})
    )
    stale, heard = seen.context, seen.replicas.of(NS, "corp")
    seen.context.objects.freeze()  # type: ignore[attr-defined]
    seen.restart()
    seen.cluster.user_apply(signing_key(revokedKeyIDs=[revoked]))
    await seen.converge()
    seen.replicas.tell(NS, "corp", heard)
    with pytest.raises(Conflict):
        await identityprovider.reconcile(stale, NS, "corp")
    assert revoked not in {key["kid"] for key in signing(seen)["jwks"]["keys"]}


async def test_killed_after_any_write_it_converges() -> None:
    assert await crash_everywhere(nothing_yet, assert_ready, apply_all) > 20


async def test_refused_at_any_write_it_converges() -> None:
    assert await fail_everywhere(nothing_yet, assert_ready, apply_all) > 20


async def test_a_switched_off_component_goes() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.user_apply(provider(idp={"enabled": False}))
    await seen.run_for(10)
    assert not any(seen.cluster.exists(kind, NS, "corp-idp") for kind in kinds.OWNED)
    assert conditions(seen)["Ready"] == ("True", "Ready")


async def test_with_one_replica_there_is_no_budget() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.user_apply(provider(sts={"replicas": 1}))
    await seen.converge()
    assert not seen.cluster.exists(kinds.POD_DISRUPTION_BUDGET, NS, "corp-sts")


async def test_a_number_that_is_not_ours_is_left_to_the_autoscaler() -> None:
    seen = world(signing_key(), provider(sts={}), policy())
    await seen.converge()
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: obj["spec"].update(replicas=7))
    await seen.run_for(30)
    assert seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["replicas"] == 7


async def test_keys_policies_and_references_never_change_the_pods() -> None:
    seen = standard()
    await seen.converge()
    before = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["template"]
    seen.cluster.user_apply(signing_key("rsa", algorithm="EdDSA"))
    upstream = {"name": "prod", "tailscale": {"oauthClientSecretRef": {"name": "ts"}}}
    seen.cluster.user_apply(provider(signingKeys=[{"name": "corp"}, {"name": "rsa"}], upstreams=[upstream]))
    for number in range(20):
        seen.cluster.user_apply(policy(f"more-{number}"))
    await seen.run_for(60)
    assert len(signing(seen)["held"]) > 2
    assert seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["template"] == before


async def test_another_image_of_the_operator_rolls_the_workers() -> None:
    seen = standard()
    await seen.converge()
    seen._settings = OperatorSettings(
        worker_image="tailseal:next", worker_pull_secrets=("registry",), worker_priority_class="trust"
    )
    seen.restart()
    await seen.converge()
    rolled = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-idp")
    assert rolled["spec"]["template"]["spec"]["containers"][0]["image"] == "tailseal:next"
    assert rolled["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert rolled["spec"]["template"]["spec"]["priorityClassName"] == "trust"


async def test_deleted_and_applied_again_it_goes_on_with_its_ledger() -> None:
    seen = standard()
    await seen.converge()
    kept, before = files(seen, "corp-issuer"), signing(seen)
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, "corp")
    await seen.converge()
    assert not any(seen.cluster.exists(kind, NS, name) for kind, name in OWNED)
    assert files(seen, "corp-issuer")["poll.key"] == kept["poll.key"]
    seen.cluster.user_apply(provider())
    await seen.run_for(60)
    assert_ready(seen)
    assert signing(seen)["statusKey"] == before["statusKey"]
    assert signing(seen)["active"] == before["active"]


async def test_another_issuer_never_takes_over_the_ledger() -> None:
    seen = standard()
    await seen.converge()
    kept = files(seen, "corp-issuer")
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, "corp")
    seen.cluster.collect_garbage()
    seen.cluster.user_apply(provider(issuer="https://other.example"))
    await seen.converge()
    assert conditions(seen)["Programmed"] == ("False", "NameTaken")
    assert "holds the ledger of issuer https://idp.corp.example: delete it" in message(seen, "Programmed")
    assert files(seen, "corp-issuer") == kept


async def test_what_a_former_provider_of_the_name_left_is_waited_for() -> None:
    seen = standard()
    await seen.converge()
    owner = [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "gone", "controller": True}]
    seen.cluster.user_edit(
        kinds.SERVICE, NS, "corp-sts", lambda obj: obj["metadata"].update(ownerReferences=owner, finalizers=["hold"])
    )
    with pytest.raises(Exception, match="former owner"):
        await seen.reconcile("IdentityProvider", NS, "corp")


async def test_a_forbidden_write_is_said_and_the_rest_goes_on() -> None:
    seen = standard()
    ref = Ref(kinds.NETWORK_POLICY, NS, "corp-sts")
    seen.cluster.refuse = lambda verb, asked: (
        Forbidden("networkpolicies: no") if asked == ref and verb == "apply" else None
    )
    for _ in range(6):
        await seen._pass()
    assert conditions(seen)["Programmed"] == ("False", "Forbidden")
    assert conditions(seen)["Stalled"] == ("True", "Forbidden")
    assert seen.cluster.exists(kinds.DEPLOYMENT, NS, "corp-sts")
    seen.cluster.refuse = lambda _verb, _ref: None
    await seen.run_for(60)
    assert_ready(seen)


async def test_of_a_component_that_is_switched_off_pods_go_first_and_what_holds_them_in_check_after_them() -> None:
    seen = standard()
    await seen.converge()
    before = len(seen.cluster.writes)
    seen.cluster.user_apply(provider(idp={"enabled": False}))
    await seen.converge()
    gone = [write.ref.kind for write in seen.cluster.writes[before:] if write.verb == "delete"]
    assert gone == [kinds.DEPLOYMENT, kinds.SERVICE, kinds.NETWORK_POLICY, kinds.SERVICE_ACCOUNT]
