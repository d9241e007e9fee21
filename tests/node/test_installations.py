"""Other ways to install than the session's, on its node: each takes over what is there, and gives it back as it was.

Cluster-wide with two operators, the plain bundle, README's commands. Exchanges go on meanwhile, and none is lost.
"""

from __future__ import annotations

import json
import ssl
import time
from pathlib import Path

import httpx
import pytest

from chart.test_cluster_wide import PROVIDER
from fakes.pages import Reader, blocks, shown
from node.installing import at_all, operators, tag, told, uninstalled
from node.load import Load, exchanges
from node.releases import REPOSITORY
from node.table import FULL, measured
from node.world import PROVIDERS, RELEASE, SPACE, SYSTEM, World, until
from node.world import helm as run_helm
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import kid_of, kids, verify
from tailseal_dev.realnode import images
from tailseal_dev.realnode.node import RealNode

pytestmark = [
    pytest.mark.node,
    pytest.mark.helm,
    pytest.mark.usefixtures("image"),
    pytest.mark.skipif(not FULL, reason="other installations than the session's: `make e2e` makes each"),
]

TEAM, EAST, README = "team-a", "east", "acme"
TEAMS_AUDIENCE = "https://team.example"
OPERATOR = (f"deployment/{RELEASE}-operator", f"--namespace={SYSTEM}")
NONE_FAILED = "0 failed, every token verifies"
BOUNDS = {
    "name": "teams",
    "namespaces": {"from": "Names", "names": [PROVIDERS, TEAM]},
    "issuers": ["https://ci.example"],
    "keySources": ["JWKS"],
    "audiences": [manifests.AUDIENCE, TEAMS_AUDIENCE],
}
"""Where there is a bound, it is for the provider's own namespace, too."""


def test_two_operators_for_all_namespaces_rotate_a_key_though_the_leader_is_killed(
    world: World, job: str, helm: str
) -> None:
    kubectl = world.kubectl
    for space in (TEAM, EAST):
        kubectl("create", "namespace", space)
    bounds = json.dumps({"spec": {"bounds": [BOUNDS]}})
    kubectl("patch", "identityprovider/corp", SPACE, "--type=merge", f"--patch={bounds}")
    policy = world.policy("team", TEAMS_AUDIENCE).replace(f"namespace: {PROVIDERS}", f"namespace: {TEAM}")
    kubectl("apply", "-f", "-", stdin=policy.replace("{name: corp}", f"{{name: corp, namespace: {PROVIDERS}}}"))
    more = (
        "--set-json=namespaces=[]",
        "--set=clusterWide=true",
        "--set=operator.replicas=2",
        "--set=operator.podDisruptionBudget.enabled=true",
    )
    try:
        with Load({"exchanges": exchanges(world, job)}) as load:
            started = time.monotonic()
            with told(world, helm, *more):
                seconds = time.monotonic() - started
                until(lambda: len(operators(world)) == 2, "the one that elected nobody is gone", within=120)
                measured("`helm upgrade` to clusterWide with two operators", load.seen(), NONE_FAILED, seconds)
                _other_namespaces_count(world, job)
                _leader_killed_amid_a_rotation(world, job)
        measured("the same and back, all the time", load.seen(), NONE_FAILED, time.monotonic() - started)
        assert load.failed == []
        until(lambda: at_all(world, job, TEAMS_AUDIENCE, 400), "the other namespace's policy is nobody's any more")
        until(lambda: world.granted(job), "every replica grants")
    finally:
        kubectl("patch", "identityprovider/corp", SPACE, "--type=merge", '--patch={"spec":{"bounds":null}}')
        kubectl("delete", "namespace", TEAM, EAST)


def _other_namespaces_count(world: World, job: str) -> None:
    """Policies of teams, and providers elsewhere, of which the release knew nothing before."""
    until(lambda: at_all(world, job, TEAMS_AUDIENCE, 200), "the other namespace's policy grants")
    objects = PROVIDER.format(space=EAST, tenant=TEAM)
    world.kubectl("apply", "-f", "-", stdin=objects)
    started = time.monotonic()
    try:
        for name, space in (("signingkey/corp", EAST), ("identityprovider/corp", EAST), (f"trustpolicy/{EAST}", TEAM)):
            world.kubectl("wait", "--for=condition=Ready", name, f"--namespace={space}", "--timeout=240s")
        measured("the same: a provider of another namespace applied", "so it is", "Ready", time.monotonic() - started)
    finally:
        world.kubectl("delete", "-f", "-", stdin=objects)


def _leader_killed_amid_a_rotation(world: World, job: str) -> None:
    """At once: whether it still gives up its Lease or that has to run out is left to the kubelet."""
    leader, former = _leader(world), _signer(world, job)
    assert leader in operators(world)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    world.kubectl("annotate", "signingkey/corp", SPACE, f"tailseal.dev/rotate={stamp}", "--overwrite")
    started = time.monotonic()
    world.kubectl("delete", f"pod/{leader}", f"--namespace={SYSTEM}", "--grace-period=0", "--force")
    until(lambda: _leader(world) not in ("", leader), "the other one leads", within=180)
    taken = time.monotonic() - started
    until(lambda: _signer(world, job) != former, "the new key signs", within=240)
    claims = verify(_exchanged(world, job), world.caller.jwks(), issuer=world.issuer, audience=manifests.AUDIENCE)
    assert claims["sub"] == f"policy:{PROVIDERS}/deploy"
    seen = f"the other one leads after {taken:.1f} s, and the new key signs"
    measured("key to be rotated, the leader of two killed at once", seen, "the same", time.monotonic() - started)


def test_the_plain_bundle_takes_over_from_the_chart_and_gives_it_back(
    world: World, job: str, helm: str, tmp_path: Path
) -> None:
    reader = Reader(world.node.plane, tmp_path / "clone", {"YOUR/tailseal:TAG": images.TAG})
    (applies,) = [
        block for block in blocks("docs/installation.md", _PAGE, "console") if "kubectl kustomize deploy" in block
    ]
    (removes,) = [command for command, _ in _shown("With and without Helm") if command.startswith("kubectl delete")]
    pods, keys = _pods(world), kids(world.caller.jwks())
    with Load({"exchanges": exchanges(world, job)}) as load, uninstalled(world, helm):
        started = time.monotonic()
        try:
            reader.follows(applies)
            world.kubectl("rollout", "status", *OPERATOR, "--timeout=180s")
            _a_policy_comes_and_goes(world, job)
            assert (kids(world.caller.jwks()), _pods(world)) == (keys, pods), "keys and pods are those of before"
            seconds = time.monotonic() - started
        finally:
            reader.types(removes)
            until(lambda: not operators(world), "no operator is left", within=120)
    _has_no_say_in_crds(world)
    _a_policy_comes_and_goes(world, job)
    assert (kids(world.caller.jwks()), _pods(world)) == (keys, pods)
    seen = f"{load.seen()}; keys and worker pods are those of before"
    measured("`helm uninstall`, the plain bundle by kubectl, and the chart again", seen, NONE_FAILED, seconds)
    assert load.failed == []


def test_readme_s_commands_install_on_real_pods(
    world: World, node: RealNode, job: str, helm: str, tmp_path: Path
) -> None:
    """In another namespace, as the session's provider has README's: that one is served on by its workers alone."""
    tag(node, f"{REPOSITORY}:0.1.0")
    folder, plane = tmp_path / "clone", world.node.plane
    reader = Reader(plane, folder, {"YOUR/tailseal": REPOSITORY, "identity": README})
    (commands,) = blocks("README.md", "In a cluster", "console")
    (objects,) = blocks("README.md", "In a cluster", "yaml")
    space, named = f"--namespace={README}", ("signingkey/corp", "identityprovider/corp", "trustpolicy/deploy")
    with Load({"exchanges": exchanges(world, job)}) as load, uninstalled(world, helm):
        started = time.monotonic()
        try:
            reader.follows(commands)
            reader.types("kubectl apply -f -", stdin=objects.replace(f"namespace: {PROVIDERS}", f"namespace: {README}"))
            world.kubectl("wait", *named, "--for=condition=Ready", space, "--timeout=240s")
            seconds = time.monotonic() - started
            address = world.kubectl("get", "service/corp-sts", space, "--output=jsonpath={.spec.clusterIP}")
            assert _keys_served(f"127.0.0.1:{node.reach(address, 443)}", folder / "tls.crt")
        finally:
            world.kubectl("delete", *named, space, "--ignore-not-found", "--timeout=120s")
            run_helm(world, helm, "uninstall", RELEASE, "--wait", "--timeout=180s")
            world.kubectl("delete", "namespace", README)
    measured("README's commands, in a namespace of their own", "so it is", "objects Ready, keys served", seconds)
    _a_policy_comes_and_goes(world, job)
    measured("the session's provider without an operator of its own meanwhile", load.seen(), NONE_FAILED)
    assert load.failed == []


_PAGE = "Installation, and what it says when something is wrong"


def _shown(heading: str) -> list[tuple[str, str]]:
    return [pair for block in blocks("docs/installation.md", heading, "console") for pair in shown(block)]


def _keys_served(address: str, certificate: Path) -> list[object]:
    """The key set of who shows that certificate."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False  # the issuer's, which leads elsewhere
    answer = httpx.get(f"https://{address}/.well-known/jwks.json", verify=context, trust_env=False)
    return list(answer.raise_for_status().json()["keys"])


def _has_no_say_in_crds(world: World) -> None:
    """`kubectl` gives up what it wrote of them, or the next upgrade with others would take `--force-conflicts`."""
    kept = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    for name in world.kubectl("get", "crds", "--output=name").split():
        if name.endswith(".tailseal.dev"):
            said = json.dumps(kept | {"metadata": {"name": name.partition("/")[2]}})
            world.kubectl("apply", "--server-side", "--validate=false", "--filename=-", stdin=said)


def _a_policy_comes_and_goes(world: World, token: str) -> None:
    """An operator is at work: what it is told, every replica does."""
    world.kubectl("apply", "-f", "-", stdin=world.policy("other", TEAMS_AUDIENCE))
    until(lambda: at_all(world, token, TEAMS_AUDIENCE, 200), "every replica grants", within=180)
    world.kubectl("delete", "trustpolicy/other", SPACE)
    until(lambda: at_all(world, token, TEAMS_AUDIENCE, 400), "every replica refuses", within=180)


def _pods(world: World) -> set[str]:
    return {pod for component in ("sts", "idp") for pod in world.pods(component)}


def _leader(world: World) -> str:
    path = "--output=jsonpath={.spec.holderIdentity}"
    return world.kubectl("get", "lease/tailseal-operator", f"--namespace={SYSTEM}", path)


def _exchanged(world: World, token: str) -> str:
    answer = world.caller.exchange(token, audience=manifests.AUDIENCE)
    assert answer.token, f"{answer.status} {answer.reason}"
    return answer.token


def _signer(world: World, token: str) -> str:
    return kid_of(_exchanged(world, token))
