"""What is claimed of pods, seen on a real kubelet: installed, exchanged, withdrawn, rotated, rolled, hardened."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from node.conftest import ROOT
from node.load import Load, exchanges
from node.table import measured
from node.world import PROVIDERS, RELEASE, SPACE, SYSTEM, World, until
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import kid_of, kids, verify
from tailseal_dev.realnode import images

pytestmark = [pytest.mark.node, pytest.mark.helm]

ACCOUNT = f"system:serviceaccount:{SYSTEM}:tailseal-operator"
FACTS = """
import errno, json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def sealed(folder):
    try:
        open(folder + "/probe", "w").close()
    except OSError as error:
        return error.errno == errno.EROFS  # root's folders refuse us otherwise, too
    return False
print(json.dumps({
    "uid": os.getuid(),
    "gid": os.getgid(),
    "capabilities": int(status["CapEff"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "unsealed": [folder for folder in ("", "/etc", "/opt/tailseal", "/usr") if not sealed(folder)],
    "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
}))
"""


def test_our_image_adds_less_to_its_base_than_the_gate(image: images.Built) -> None:
    measured("image over its base", f"{image.added / 1e6:.0f} MB", f"at most {images.SIZE_GATE / 1e6:.0f} MB")
    assert image.added <= images.SIZE_GATE


def test_both_workers_become_available_and_the_provider_ready(world: World) -> None:
    measured("IdentityProvider applied", "Ready", "Ready, three pods serving", world.ready_after)
    for component in ("sts", "idp"):
        world.kubectl("wait", f"deployment/corp-{component}", "--for=condition=Available", SPACE, "--timeout=180s")


def test_an_exchange_gives_a_token_that_verifies(world: World, job: str) -> None:
    answer = world.caller.exchange(job, audience=manifests.AUDIENCE, scope=manifests.SCOPE)
    claims = verify(answer.token, world.caller.jwks(), issuer=world.issuer, audience=manifests.AUDIENCE)
    assert claims["sub"] == f"policy:{PROVIDERS}/deploy"


def test_a_rolling_update_loses_no_exchange(world: World, job: str) -> None:
    before = set(world.pods("sts"))
    work = {"exchanges": exchanges(world, job), "over kept connections": exchanges(world, job, kept=True)}
    with Load(work) as load:
        started = time.monotonic()
        change = json.dumps({"spec": {"workload": {"labels": {"rolled": "once"}}}})
        world.kubectl("patch", "identityprovider/corp", SPACE, "--type=merge", f"--patch={change}")
        selector = "--selector=app.kubernetes.io/component=sts,rolled=once"
        until(lambda: "corp-sts" in world.kubectl("get", "pods", SPACE, selector), "the rollout begins")
        world.kubectl("rollout", "status", "deployment/corp-sts", SPACE, "--timeout=180s")
        until(lambda: not before & set(world.pods("sts")), "the old pods are gone", within=120)
        seconds = time.monotonic() - started
    measured("rolling update of both token services", load.seen(), "0 failed, every token verifies", seconds)
    assert load.failed == []


def test_a_rotated_key_signs_only_after_every_replica_published_it_though_the_operator_is_killed_before(
    world: World, job: str
) -> None:
    (old,) = kids(world.caller.jwks())
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    world.kubectl("annotate", "signingkey/corp", SPACE, f"tailseal.dev/rotate={stamp}", "--overwrite")

    def published_everywhere() -> bool:
        return world.everywhere(lambda replica: bool(world.caller.jwks_of_replica(replica) - {old}))

    def signer() -> str:
        return kid_of(world.caller.exchange(job, audience=manifests.AUDIENCE).token)

    seconds = until(published_everywhere, "every replica publishes the new key")
    assert signer() == old
    with Load({"exchanges": exchanges(world, job)}) as load:
        selector = "--selector=app.kubernetes.io/component=operator"
        world.kubectl("delete", "pods", f"--namespace={SYSTEM}", selector, "--grace-period=0", "--force")
        signing = until(lambda: signer() != old, "the new key signs", within=240)
    measured("key rotated", "published by every replica", "published before it signs", seconds)
    text = f"the new key signs, from one operator to the next; {load.seen()}"
    measured("the same, the operator killed then", text, "not before 31 s; every token verifies", seconds + signing)
    assert load.failed == []


def _facts(world: World, namespace: str, pod: str) -> dict[str, object]:
    answer = world.kubectl("exec", pod, f"--namespace={namespace}", "--", "python", "-c", FACTS)
    facts: dict[str, object] = json.loads(answer)
    return facts


@pytest.mark.parametrize("component", ["sts", "idp"])
def test_workers_have_no_rights_on_their_node_nor_at_the_api_server(world: World, component: str) -> None:
    for pod in world.pods(component):
        assert _facts(world, PROVIDERS, pod) == {
            "uid": 65532,
            "gid": 65532,
            "capabilities": 0,
            "no_new_privileges": "1",
            "seccomp": "2",
            "unsealed": [],
            "token": False,
        }


def test_the_operator_has_no_rights_on_its_node(world: World) -> None:
    facts = _facts(world, SYSTEM, "deployment/tailseal-operator")
    assert (facts["uid"], facts["capabilities"], facts["no_new_privileges"], facts["seccomp"]) == (65532, 0, "1", "2")
    assert facts["unsealed"] == []


def refused(world: World) -> list[str]:
    """What rights or fences refused the operator."""
    return [
        f"{event['verb']} {event['requestURI']}"
        for event in world.node.plane.audit()
        if event["user"]["username"] == ACCOUNT
        and event["responseStatus"].get("code") == 403
        and "dryRun" not in event["requestURI"]  # by these the operator asks whether the fences stand
        and not world.is_excused(event)
    ]


def test_neither_rights_nor_fence_refused_the_operator_anything(world: World) -> None:
    said = world.kubectl("logs", "deployment/tailseal-operator", f"--namespace={SYSTEM}")
    conditions = world.kubectl("get", "identityprovider/corp", SPACE, "--output=jsonpath={.status.conditions}")
    assert refused(world) == []
    assert "orbidden" not in said
    assert "FastPropagation" not in conditions or '"True","type":"FastPropagation"' in conditions
    assert '"type":"Fenced"' not in conditions


def _upgrade(world: World, helm: str, *values: str) -> None:
    argv = [helm, "upgrade", RELEASE, str(ROOT / "charts" / "tailseal"), f"--namespace={SYSTEM}", "--reuse-values"]
    environment = os.environ | {"KUBECONFIG": str(world.node.plane.kubeconfig)}
    argv += ["--wait", "--timeout=180s", *values]
    result = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def _condition(world: World, kind: str) -> str:
    path = f'--output=jsonpath={{.status.conditions[?(@.type=="{kind}")].message}}'
    return world.kubectl("get", "identityprovider/corp", SPACE, path)


def test_an_image_that_cannot_be_pulled_is_named_while_the_old_pods_serve_on(world: World, job: str, helm: str) -> None:
    image = "127.0.0.1:9/nobody:1"
    _upgrade(world, helm, "--set=fence.deployments=false", f"--set=operator.extraArgs={{--worker-image={image}}}")
    try:
        seconds = until(lambda: "ImagePullBackOff" in _condition(world, "WorkersAvailable"), "it is said", within=120)
        text = _condition(world, "WorkersAvailable")
        until(lambda: "deployments" in _condition(world, "Fenced"), "the missing fence is said")
        assert image in text
        assert world.caller.exchange(job, audience=manifests.AUDIENCE).token
    finally:
        _upgrade(world, helm, "--set=fence.deployments=true", "--set-json=operator.extraArgs=[]")
    until(lambda: not _condition(world, "WorkersAvailable"), "it is over", within=120)
    measured("image that cannot be pulled", text, "status names it, the old pods serve", seconds)
