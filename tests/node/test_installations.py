"""Other ways to install than the session's, on its node: each takes over what is there, and gives it back as it was.

Cluster-wide with two operators, injected containers, secrets for registries and an authority of one's own by values of
the chart; the plain bundle and README's commands in the release's place. Exchanges go on meanwhile, and none is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chart.test_cluster_wide import PROVIDER
from fakes.pages import Reader, blocks, shown
from node.load import Load, exchanges
from node.releases import PRESENT, REPOSITORY
from node.table import FULL, measured
from node.world import PROVIDERS, RELEASE, SPACE, SYSTEM, World, until, upgrade
from node.world import helm as run_helm
from tailseal_dev import process
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import kid_of, kids, verify
from tailseal_dev.realnode import config, images
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
    "namespaces": {"from": "Names", "names": [TEAM]},
    "issuers": ["https://ci.example"],
    "keySources": ["JWKS"],
    "audiences": [TEAMS_AUDIENCE],
}
MESH = "localhost/mesh/proxy:1"
WAITING = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); signal.pause()"
FOREIGN_PORT = 8445
FOREIGN = f"https://{config.ADDRESS}:{FOREIGN_PORT}"
SERVED = f"""
import sys, threading, time
from pathlib import Path
from tailseal_dev.issuer import Issuer
from tailseal_dev.pki import Authority
folder, audience, authority = Path(sys.argv[1]), sys.argv[2], Authority("corp")
with Issuer(host="{config.ADDRESS}", port={FOREIGN_PORT}, authority=authority) as issuer:
    (folder / "token").write_text(issuer.token(audience, exp=int(time.time()) + 3600))
    (folder / "ca.crt").write_bytes(authority.certificate)
    (folder / "up").touch()
    threading.Event().wait()
"""
"""An issuer on the node, whose certificate nobody knows."""


@pytest.fixture
def values(world: World, helm: str, tmp_path: Path) -> Path:
    """What the release was told, to be told again."""
    path = tmp_path / "values.json"
    path.write_text(run_helm(world, helm, "get", "values", RELEASE, "--output=json"))
    return path


@contextlib.contextmanager
def told(world: World, helm: str, values: Path, *more: str) -> Iterator[None]:
    """The release is told more, and then what it was told before."""
    former = ("--reset-values", f"--values={values}")
    try:
        with world.excused():
            upgrade(world, helm, PRESENT, *former, *more)
        yield
    finally:
        with world.excused():
            upgrade(world, helm, PRESENT, *former)
            until(lambda: len(_operators(world)) == 1, "one operator is left", within=120)


@contextlib.contextmanager
def uninstalled(world: World, helm: str, values: Path) -> Iterator[None]:
    """The release is gone, CRDs and objects are not; then it is there again."""
    path = ("signingkey/corp", SPACE, "--output=jsonpath={.metadata.uid}")
    key = world.kubectl("get", *path)
    with world.excused():
        run_helm(world, helm, "uninstall", RELEASE, "--wait", "--timeout=180s")
        until(lambda: not _operators(world), "no operator is left", within=120)
        assert world.kubectl("get", *path) == key
        try:
            yield
        finally:
            arguments = (RELEASE, str(PRESENT), f"--values={values}", "--wait", "--timeout=180s")
            run_helm(world, helm, "install", *arguments)
    assert world.kubectl("get", *path) == key


def test_two_operators_for_all_namespaces_rotate_a_key_though_the_leader_is_killed(
    world: World, job: str, helm: str, values: Path
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
            with told(world, helm, values, *more):
                seconds = time.monotonic() - started
                until(lambda: len(_operators(world)) == 2, "the one that elected nobody is gone", within=120)
                measured("`helm upgrade` to clusterWide with two operators", load.seen(), NONE_FAILED, seconds)
                _other_namespaces_count(world, job)
                _leader_killed_amid_a_rotation(world, job)
        measured("the same and back, all the time", load.seen(), NONE_FAILED, time.monotonic() - started)
        assert load.failed == []
        until(lambda: _at_all(world, job, TEAMS_AUDIENCE, 400), "the other namespace's policy is nobody's any more")
        until(lambda: world.granted(job), "every replica grants")
    finally:
        kubectl("patch", "identityprovider/corp", SPACE, "--type=merge", '--patch={"spec":{"bounds":null}}')
        kubectl("delete", "namespace", TEAM, EAST)


def _other_namespaces_count(world: World, job: str) -> None:
    """Policies of teams, and providers elsewhere, of which the release knew nothing before."""
    until(lambda: _at_all(world, job, TEAMS_AUDIENCE, 200), "the other namespace's policy grants")
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
    """Without a farewell, so that its Lease has to run out."""
    leader, former = _leader(world), _signer(world, job)
    assert leader in _operators(world)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    world.kubectl("annotate", "signingkey/corp", SPACE, f"tailseal.dev/rotate={stamp}")
    started = time.monotonic()
    world.kubectl("delete", f"pod/{leader}", f"--namespace={SYSTEM}", "--grace-period=0", "--force")
    until(lambda: _leader(world) not in ("", leader), "the other one leads", within=180)
    taken = time.monotonic() - started
    until(lambda: _signer(world, job) != former, "the new key signs", within=240)
    claims = verify(_exchanged(world, job), world.caller.jwks(), issuer=world.issuer, audience=manifests.AUDIENCE)
    assert claims["sub"] == f"policy:{PROVIDERS}/deploy"
    seen = f"the other one leads after {taken:.1f} s, and the new key signs"
    measured("key to be rotated, the leader of two killed at once", seen, "the same", time.monotonic() - started)


def test_values_for_sidecars_registries_and_an_authority_reach_real_pods(
    world: World, node: RealNode, job: str, helm: str, values: Path, tmp_path: Path
) -> None:
    _tag(node, MESH)
    for space in (SYSTEM, PROVIDERS):
        login = ("--docker-server=registry.corp.example", "--docker-username=a", "--docker-password=b")
        world.kubectl("create", "secret", "docker-registry", "registry", f"--namespace={space}", *login)
    argv = node.inside(sys.executable, "-c", SERVED, str(tmp_path), world.issuer)
    issuer = process.start(argv, tmp_path / "issuer.log", os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        until((tmp_path / "up").exists, "the issuer on the node serves")
        more = (
            '--set-json=worker.sidecars=[{"name":"mesh","image":"localhost/mesh/"}]',
            "--set=worker.imagePullSecrets[0].name=registry",
            "--set=image.pullSecrets[0].name=registry",
            f"--set=egress.openHosts={{{config.ADDRESS}/32}}",
            f"--set-file=egress.extraCA={tmp_path / 'ca.crt'}",
        )
        with Load({"exchanges": exchanges(world, job)}) as load:
            started = time.monotonic()
            with told(world, helm, values, *more):
                _pull_secrets_are_the_pods(world)
                _an_authority_of_ones_own_is_believed(world, tmp_path)
                _what_is_allowed_stays(world)
            until(lambda: _containers(world, "sts") == ["sts"], "what is not allowed any more is gone", within=180)
            until(lambda: not _pods_with(world, "mesh"), "its pods too", within=180)
            seconds = time.monotonic() - started
        measured("these four values, and all taken back", load.seen(), NONE_FAILED, seconds)
        assert load.failed == []
    finally:
        process.stop(issuer)
        for space in (SYSTEM, PROVIDERS):
            world.kubectl("delete", "secret/registry", f"--namespace={space}", "--ignore-not-found")
    until(lambda: world.granted(job), "every replica grants")


def _pull_secrets_are_the_pods(world: World) -> None:
    path = "--output=jsonpath={range .items[*]}{.spec.imagePullSecrets[*].name} {.status.phase} {end}"
    workers = (SPACE, "--selector=tailseal.dev/identity-provider=corp")

    def holds(*of: str) -> bool:
        words = world.kubectl("get", "pods", *of, path).split()
        return len(words) >= 2 and set(words[0::2]) == {"registry"} and set(words[1::2]) == {"Running"}

    seconds = until(lambda: holds(*workers) and holds(f"--namespace={SYSTEM}"), "all pods name the Secret", within=240)
    measured("worker.imagePullSecrets, image.pullSecrets", "so it is", "every pod names the Secret and runs", seconds)


def _an_authority_of_ones_own_is_believed(world: World, folder: Path) -> None:
    """Keys are fetched from whom only `egress.extraCA` vouches for."""
    ca = (folder / "ca.crt").read_text()
    mounted = world.kubectl("exec", *OPERATOR, "--", "cat", "/etc/tailseal/extra-ca/ca.crt")
    assert mounted.split() == ca.split()
    keys = f"      keys: {{jwks: {json.dumps(world.ci.jwks)}}}\n"
    policy = world.policy("foreign", "https://foreign.example").replace("https://ci.example", FOREIGN)
    assert keys in policy
    world.kubectl("apply", "-f", "-", stdin=policy.replace(keys, ""))
    try:
        token = (folder / "token").read_text()
        granted = until(lambda: _at_all(world, token, "https://foreign.example", 200), "granted", within=180)
    finally:
        world.kubectl("delete", "trustpolicy/foreign", SPACE)
    expected = "every replica fetches its keys and grants"
    measured("egress.extraCA: an issuer that no public authority knows", "so it is", expected, granted)


def _what_is_allowed_stays(world: World) -> None:
    started = time.monotonic()
    _inject(world, "mesh", MESH)
    until(lambda: _serves_with_mesh(world), "the pods serve with what was injected", within=240)
    measured(
        "an allowed container put into a Deployment", "so it is", "it stays, the pods serve", time.monotonic() - started
    )
    started = time.monotonic()
    _inject(world, "spy", f"{REPOSITORY}:spy")
    until(lambda: _containers(world, "sts") == ["mesh", "sts"], "what is not allowed is taken out", within=120)
    until(lambda: not _pods_with(world, "spy") and _serves_with_mesh(world), "the others serve", within=240)
    measured("one that is not allowed", "so it is", "it is taken out, the other stays", time.monotonic() - started)


def _inject(world: World, name: str, image: str) -> None:
    """As another field manager, as hardened as the namespace demands."""
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": name, "image": image, "command": ["python", "-c", WAITING], "securityContext": context}
    patch = json.dumps({"spec": {"template": {"spec": {"containers": [container]}}}})
    world.kubectl("patch", "deployment/corp-sts", SPACE, "--field-manager=injector", f"--patch={patch}")


def _containers(world: World, component: str) -> list[str]:
    path = "--output=jsonpath={.spec.template.spec.containers[*].name}"
    return sorted(world.kubectl("get", f"deployment/corp-{component}", SPACE, path).split())


def _sts_pods(world: World) -> list[dict[str, bool]]:
    """Which containers each pod of the token service has, and whether they are ready."""
    selector = "--selector=tailseal.dev/identity-provider=corp,app.kubernetes.io/component=sts"
    pods = json.loads(world.kubectl("get", "pods", SPACE, selector, "--output=json"))["items"]
    ready = [{status["name"]: status["ready"] for status in pod["status"].get("containerStatuses", ())} for pod in pods]
    return [
        {each["name"]: seen.get(each["name"], False) for each in pod["spec"]["containers"]}
        for pod, seen in zip(pods, ready, strict=True)
    ]


def _pods_with(world: World, name: str) -> bool:
    return any(name in pod for pod in _sts_pods(world))


def _serves_with_mesh(world: World) -> bool:
    pods = _sts_pods(world)
    return len(pods) == 2 and all(pod == {"sts": True, "mesh": True} for pod in pods)


def test_the_plain_bundle_takes_over_from_the_chart_and_gives_it_back(
    world: World, job: str, helm: str, values: Path, tmp_path: Path
) -> None:
    reader = Reader(world.node.plane, tmp_path / "clone", {"YOUR/tailseal:TAG": images.TAG})
    (applies,) = [
        block for block in blocks("docs/installation.md", _PAGE, "console") if "kubectl kustomize deploy" in block
    ]
    (removes,) = [command for command, _ in _shown("With and without Helm") if command.startswith("kubectl delete")]
    pods, keys = _pods(world), kids(world.caller.jwks())
    with Load({"exchanges": exchanges(world, job)}) as load, uninstalled(world, helm, values):
        started = time.monotonic()
        try:
            reader.follows(applies)
            world.kubectl("rollout", "status", *OPERATOR, "--timeout=180s")
            _a_policy_comes_and_goes(world, job)
            assert (kids(world.caller.jwks()), _pods(world)) == (keys, pods), "keys and pods are those of before"
            seconds = time.monotonic() - started
        finally:
            reader.types(removes)
            until(lambda: not _operators(world), "no operator is left", within=120)
    _a_policy_comes_and_goes(world, job)
    assert (kids(world.caller.jwks()), _pods(world)) == (keys, pods)
    seen = f"{load.seen()}; keys and worker pods are those of before"
    measured("`helm uninstall`, the plain bundle by kubectl, and the chart again", seen, NONE_FAILED, seconds)
    assert load.failed == []


def test_readme_s_commands_install_on_real_pods(
    world: World, node: RealNode, job: str, helm: str, values: Path, tmp_path: Path
) -> None:
    """In another namespace, as the session's provider has README's: that one is served on by its workers alone."""
    _tag(node, f"{REPOSITORY}:0.1.0")
    folder, plane = tmp_path / "clone", world.node.plane
    reader = Reader(plane, folder, {"YOUR/tailseal": REPOSITORY, "identity": README})
    (commands,) = blocks("README.md", "In a cluster", "console")
    (objects,) = blocks("README.md", "In a cluster", "yaml")
    space, named = f"--namespace={README}", ("signingkey/corp", "identityprovider/corp", "trustpolicy/deploy")
    with Load({"exchanges": exchanges(world, job)}) as load, uninstalled(world, helm, values):
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


def _a_policy_comes_and_goes(world: World, token: str) -> None:
    """An operator is at work: what it is told, every replica does."""
    world.kubectl("apply", "-f", "-", stdin=world.policy("other", TEAMS_AUDIENCE))
    until(lambda: _at_all(world, token, TEAMS_AUDIENCE, 200), "every replica grants", within=180)
    world.kubectl("delete", "trustpolicy/other", SPACE)
    until(lambda: _at_all(world, token, TEAMS_AUDIENCE, 400), "every replica refuses", within=180)


def _at_all(world: World, token: str, audience: str, status: int) -> bool:
    return world.everywhere(lambda way: world.caller.exchange_at(way, token, audience=audience).status == status)


def _tag(node: RealNode, name: str) -> None:
    """Our image under another name as well."""
    ctr = ("ctr", f"--address={config.SOCKET}", "--namespace=k8s.io", "images", "tag", "--force")
    node.run(*ctr, images.TAG, name)


def _operators(world: World) -> list[str]:
    selector = "--selector=app.kubernetes.io/component=operator"
    path = "--output=jsonpath={.items[*].metadata.name}"
    return world.kubectl("get", "pods", f"--namespace={SYSTEM}", selector, path).split()


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
