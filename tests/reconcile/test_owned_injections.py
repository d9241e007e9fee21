"""What others put into our objects, once or at each write: taken out if not allowed, and not fought where in vain."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest

from fakes.owned import essence, mirrored, repairs, template
from fakes.provider import NS, assert_ready, conditions, message, provider, standard
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Forbidden
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.reconcile.context import OperatorSettings
from tailseal.reconcile.repairs import IN_VAIN, SELDOM


def spying(images: Iterable[str]) -> Callable[[Object], None]:
    """A webhook that puts one container of its own into each Deployment, of the next image in each write."""
    taken = iter(images)

    def inject(obj: Object) -> None:
        if obj["kind"] == "Deployment":
            template(obj)["containers"][1:] = [{"name": "spy", "image": next(taken)}]

    return inject


async def test_an_injected_container_goes_unless_the_installation_allows_it() -> None:
    seen = standard()
    seen._settings = OperatorSettings(sidecars=(("mesh", "registry.corp.example/mesh/"),))
    seen.restart()
    await seen.converge()
    await seen.run_for(10)
    names = {entry["name"] for entry in template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]}
    for name, image in (("mesh", "x"), ("spy", "x"), ("mesh", "registry.corp.example/mesh/proxy:1")):
        new = {"name": name, "image": image}
        seen.cluster.user_edit(
            kinds.DEPLOYMENT, NS, "corp-sts", lambda obj, new=new: template(obj)["containers"].append(new)
        )
        await seen.converge()
    left = {entry["name"] for entry in template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]}
    assert left == names | {"mesh"}
    assert await seen.idle_writes() == []


async def test_nothing_is_taken_out_of_a_deployment_that_is_another_by_now() -> None:
    seen = standard()
    seen._settings = OperatorSettings(sidecars=(("mesh", "mesh:"),))
    seen.restart()
    await seen.converge()
    mesh, spy = {"name": "mesh", "image": "mesh:1"}, {"name": "spy", "image": "spy"}
    target = kinds.DEPLOYMENT, NS, "corp-sts"
    seen.cluster.user_edit(*target, lambda obj: template(obj)["containers"].append(spy))
    seen.context.objects.freeze()  # type: ignore[attr-defined]  # the fake's
    seen.cluster.user_edit(*target, lambda obj: template(obj)["containers"].append(mesh))
    with pytest.raises(Conflict):
        await seen.reconcile("IdentityProvider", NS, "corp")
    seen.context.objects.thaw()  # type: ignore[attr-defined]
    await seen.converge()
    assert [entry["name"] for entry in template(seen.cluster.peek(*target))["containers"]] == ["sts", "mesh"]


async def test_what_the_fence_refuses_together_with_what_others_added_is_written_after_that_is_out() -> None:
    """Whoever changes the digest of what was applied, too, chooses which of the two comes first."""
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    before = essence(seen, kinds.DEPLOYMENT, "corp-sts")

    def spied() -> bool:
        return len(template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]) > 1

    def spoil(obj: Object) -> None:
        obj["metadata"]["annotations"][meta.APPLIED_ANNOTATION] = "theirs"
        template(obj)["containers"].append({"name": "spy", "image": "x"})

    def fence(verb: str, ref: Ref) -> ClusterError | None:
        return Forbidden("no") if (verb, ref.name) == ("apply", "corp-sts") and spied() else None

    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", spoil)
    seen.cluster.refuse = fence
    await seen.converge()
    assert essence(seen, kinds.DEPLOYMENT, "corp-sts") == before
    assert_ready(seen)


async def test_what_an_admission_policy_puts_back_in_every_write_is_said_once_and_not_fought() -> None:
    def inject(obj: Object) -> None:
        if obj["kind"] == "Deployment" and all(entry["name"] != "spy" for entry in template(obj)["containers"]):
            template(obj)["containers"].append(
                {"name": "spy", "image": "x", "env": [{"name": "SEED", "value": str(next(count))}]}
            )

    count = itertools.count()
    seen = standard()
    await seen.converge()
    seen.cluster.mutate = inject
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: obj["metadata"]["annotations"].update(a="b"))
    before = len(seen.cluster.writes)
    await seen.run_for(IN_VAIN * 0.9)
    assert [write.verb for write in seen.cluster.writes[before:] if write.ref.kind == kinds.DEPLOYMENT] == ["merge"]
    said = [message for _, _, reason, message in seen.recorder.events if reason == "NotRepaired"]
    assert len(said) == 1
    assert "Deployment corp-sts comes back" in said[0]
    assert said[0].endswith("neither ours nor allowed: spy (image x)")
    assert repairs(seen) == []
    assert (conditions(seen)["Ready"], conditions(seen)["Repaired"]) == (
        ("True", "NotRepaired"),
        ("False", "NotRepaired"),
    )
    assert message(seen, "Ready") == message(seen, "Repaired") == said[0]
    done = await seen.reconcile("IdentityProvider", NS, "corp")
    assert done.after is not None
    assert done.after <= IN_VAIN, "nobody tells when the policy goes"
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(IN_VAIN)
    assert [entry["name"] for entry in template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]] == [
        "sts"
    ]
    assert_ready(seen)
    assert "Repaired" not in conditions(seen)


async def test_what_comes_back_another_each_time_is_tried_ever_more_seldom_as_each_try_ends_pods() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.mutate = spying(f"spy:{number}" for number in itertools.count())
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda _obj: None)
    before = len(seen.cluster.writes)
    await seen.run_for(64 * IN_VAIN)
    tries = [write.verb for write in seen.cluster.writes[before:] if write.ref.name == "corp-sts"]
    assert 4 <= len(tries) <= 10
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(SELDOM)
    assert_ready(seen)
    assert "Repaired" not in conditions(seen)


async def test_what_we_want_anew_ourselves_makes_no_try_more_seldom() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.mutate = spying(itertools.repeat("x"))
    for number in range(5):
        seen.cluster.user_apply(provider(workload={"labels": {"a": str(number)}}))
        await seen.run_for(5)
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(IN_VAIN * 2)
    assert_ready(seen)
    assert "Repaired" not in conditions(seen)


async def test_what_was_put_right_meanwhile_is_tried_as_often_as_at_first_when_it_comes_back_again() -> None:
    inject = spying(f"spy:{number}" for number in itertools.count())
    seen = standard()
    await seen.converge()
    right = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]
    for policy, seconds in ((inject, 8 * IN_VAIN), (lambda _obj: None, 5), (inject, 5)):
        seen.cluster.mutate = policy
        seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: obj.update(spec=right))
        await seen.run_for(seconds)
    assert conditions(seen)["Repaired"] == ("False", "NotRepaired")
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(IN_VAIN * 2)
    assert_ready(seen)


async def test_who_takes_our_mark_off_in_every_write_is_told_of_as_long_as_he_does() -> None:
    def claim(obj: Object) -> None:
        if obj["kind"] == "Deployment":
            obj["metadata"]["labels"][meta.MANAGED_BY] = "theirs"

    seen = standard()
    await seen.converge()
    seen.cluster.mutate = claim
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda _obj: None)
    await seen.run_for(IN_VAIN * 3)
    assert conditions(seen)["Repaired"] == ("False", "NotRepaired")
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(IN_VAIN * 2)
    assert_ready(seen)
    assert "Repaired" not in conditions(seen)


async def test_what_comes_back_in_the_bundle_is_tried_again_by_who_writes_it() -> None:
    def inject(obj: Object) -> None:
        if (obj["kind"], obj["metadata"]["name"]) == ("ConfigMap", "corp-policies"):
            obj.setdefault("data", {})["evil"] = "theirs"

    seen = standard()
    await seen.converge()
    seen.cluster.mutate = inject
    seen.cluster.user_edit(kinds.CONFIG_MAP, NS, "corp-policies", lambda _obj: None)
    await seen.run_for(5)
    assert conditions(seen)["Repaired"] == ("False", "NotRepaired")
    done = await seen.reconcile("Bundle", NS, "corp")
    assert done.after is not None
    assert done.after <= IN_VAIN, "nobody tells when the policy goes"
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(IN_VAIN * 2)
    assert "evil" not in seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-policies").get("data", {})
    assert (await seen.reconcile("Bundle", NS, "corp")).after is None


async def test_what_is_not_there_any_more_is_not_said_to_hold_what_others_put_in() -> None:
    def inject(obj: Object) -> None:
        if (obj["kind"], obj["metadata"]["name"]) == ("Deployment", "corp-idp"):
            template(obj)["containers"][1:] = [{"name": "spy", "image": "x"}]

    seen = standard()
    seen.cluster.user_apply(provider(idp={"enabled": True}))
    await seen.converge()
    seen.cluster.mutate = inject
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-idp", lambda _obj: None)
    await seen.run_for(5)
    assert conditions(seen)["Repaired"] == ("False", "NotRepaired")
    seen.cluster.user_apply(provider(idp={"enabled": False}))
    seen.cluster.user_delete(kinds.DEPLOYMENT, NS, "corp-idp")
    await seen.run_for(5)
    assert "Repaired" not in conditions(seen)


def labelled(obj: Object) -> None:
    if obj["kind"] == "Deployment":
        obj["metadata"]["labels"]["app.kubernetes.io/component"] = "theirs"


@pytest.mark.parametrize("policy", [mirrored, labelled])
async def test_what_an_admission_policy_makes_of_our_fields_is_said_once_and_tried_once_a_minute(
    policy: Callable[[Object], None],
) -> None:
    seen = standard()
    await seen.converge()
    wanted = essence(seen, kinds.DEPLOYMENT, "corp-sts")
    seen.cluster.mutate = policy
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda _obj: None)
    before = len(seen.cluster.writes)

    def tries() -> int:
        return sum(write.ref.name == "corp-sts" and write.verb == "apply" for write in seen.cluster.writes[before:])

    await seen.run_for(IN_VAIN * 0.9)
    assert tries() == 1
    await seen.run_for(IN_VAIN * 5)
    assert 2 <= tries() <= 6
    said = [message for _, _, reason, message in seen.recorder.events if reason == "NotRepaired"]
    assert [text.partition(" comes back")[0] for text in said] == ["what others change in Deployment corp-sts"]
    assert repairs(seen) == []
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(IN_VAIN * 2)
    assert essence(seen, kinds.DEPLOYMENT, "corp-sts") == wanted


async def test_what_is_wanted_anew_is_written_at_once_also_where_something_was_in_vain() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.mutate = mirrored
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: obj["metadata"].update(annotations={"a": "b"}))
    await seen.run_for(5)
    assert "NotRepaired" in {reason for _, _, reason, _ in seen.recorder.events}
    seen.cluster.user_apply(provider(workload={"labels": {"a": "b"}}))
    await seen.run_for(5)
    template = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["template"]
    assert template["metadata"]["labels"]["a"] == "b"


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kinds.CONFIG_MAP, "corp-policies"), (kinds.CONFIG_MAP, "corp-accepted"), (kinds.SECRET, "corp-signing")],
)
async def test_what_a_policy_makes_immutable_is_replaced_only_for_another_content(kind: Kind, name: str) -> None:
    def stiffen(obj: Object) -> None:
        if (obj["kind"], obj["metadata"]["name"]) == (kind.kind, name):
            obj["immutable"] = True

    seen = standard()
    await seen.converge()
    seen.cluster.mutate = stiffen
    seen.cluster.user_edit(kind, NS, name, lambda obj: obj["metadata"].setdefault("annotations", {}).update(a="b"))
    assert await seen.idle_writes() == []
    content = seen.cluster.peek(kind, NS, name)["data"]
    seen.cluster.user_edit(kind, NS, name, lambda obj: obj.update(data={"theirs": "eA=="}))
    await seen.converge()
    assert seen.cluster.peek(kind, NS, name)["data"] == content
    assert repairs(seen) == [f"{kind.kind} {name} was changed by somebody else: it is put back"]
    assert await seen.idle_writes() == []


async def test_a_selector_that_a_policy_widens_in_each_write_ends_pods_ever_more_seldom() -> None:
    def widen(obj: Object) -> None:
        if obj["kind"] == "Deployment":
            obj["spec"]["selector"]["matchLabels"]["theirs"] = "x"

    seen = standard()
    await seen.converge()
    seen.cluster.mutate = widen
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: obj["metadata"]["annotations"].update(a="b"))
    before = len(seen.cluster.writes)
    await seen.run_for(4 * IN_VAIN)
    tries = [write.verb for write in seen.cluster.writes[before:] if write.ref.name == "corp-sts"]
    assert tries == ["delete", "apply"] * 3
    assert conditions(seen)["Repaired"] == ("False", "NotRepaired")
    assert repairs(seen) == []
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(4 * IN_VAIN)
    assert "theirs" not in seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["selector"]["matchLabels"]
    assert "Repaired" not in conditions(seen)
    assert_ready(seen)
