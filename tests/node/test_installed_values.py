"""What the chart is told for workers reaches real pods: allowed sidecars, pull secrets, an authority of one's own."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from node.installing import at_all, tag, told
from node.load import Load, exchanges
from node.releases import REPOSITORY
from node.table import FULL, measured
from node.world import PROVIDERS, RELEASE, SPACE, SYSTEM, World, until
from tailseal_dev import process
from tailseal_dev.realnode import config
from tailseal_dev.realnode.node import RealNode

pytestmark = [
    pytest.mark.node,
    pytest.mark.helm,
    pytest.mark.usefixtures("image"),
    pytest.mark.skipif(not FULL, reason="all pods rolled three times: `make e2e` does it"),
]

OPERATOR = (f"deployment/{RELEASE}-operator", f"--namespace={SYSTEM}")
NONE_FAILED = "0 failed, every token verifies"
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


def test_values_for_sidecars_registries_and_an_authority_reach_real_pods(
    world: World, node: RealNode, job: str, helm: str, tmp_path: Path
) -> None:
    tag(node, MESH)
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
            with told(world, helm, *more):
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
        granted = until(lambda: at_all(world, token, "https://foreign.example", 200), "granted", within=180)
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
