"""Why pods do not come up: one line that names the pod, holds still from attempt to attempt, and tells no secret."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.provider import NS, conditions, provider, signing_key, world
from tailseal.cluster import kinds
from tailseal.reconcile.identityprovider.trouble import LENGTH, spared, troubles

ENDED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
NOT_FOUND = 'failed to pull and unpack image "reg/t:1": not found'


def container(*, restarts: int = 0, last: dict[str, Any] | None = None, **state: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"name": "sts", "restartCount": restarts, "state": state, "lastState": last or {}}


def waiting(reason: str, message: str = "", *, restarts: int = 0, last: dict[str, Any] | None = None) -> dict[str, Any]:
    return container(restarts=restarts, last=last, waiting={"reason": reason, "message": message})


def pod(*containers: dict[str, Any], name: str = "corp-sts-a", **status: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"metadata": {"name": name}, "status": {"containerStatuses": list(containers), **status}}


CASES = [
    ("on its way", pod(waiting("ContainerCreating")), ""),
    ("no status yet", {"metadata": {"name": "corp-sts-a"}}, ""),
    ("runs, not ready yet", pod(container(running={})), ""),
    ("ready", pod(waiting("Odd"), conditions=[{"type": "Ready", "status": "True"}]), ""),
    ("pulling", pod(waiting("ErrImagePull", NOT_FOUND)), f"ImagePullBackOff: {NOT_FOUND}"),
    (
        "pulling, backing off",
        pod(waiting("ImagePullBackOff", f'Back-off pulling image "reg/t:1": ErrImagePull: {NOT_FOUND}')),
        f"ImagePullBackOff: {NOT_FOUND}",
    ),
    (
        "crashing, waiting",
        pod(waiting("CrashLoopBackOff", "back-off 20s restarting", restarts=2, last=ENDED)),
        "CrashLoopBackOff: sts ends with exit code 137 (OOMKilled)",
    ),
    (
        "crashing, running just now",
        pod(container(restarts=2, last=ENDED, running={})),
        "CrashLoopBackOff: sts ends with exit code 137 (OOMKilled)",
    ),
    (
        "crashing, ended just now",
        pod(container(restarts=1, last={}, **ENDED)),
        "CrashLoopBackOff: sts ends with exit code 137 (OOMKilled)",
    ),
    (
        "crashed once and ready since, beside one that is not",
        pod(container(restarts=1, last=ENDED, running={}) | {"ready": True}, container(running={})),
        "",
    ),
    (
        "configuration",
        pod(waiting("CreateContainerConfigError", 'secret "x" not found')),
        'CreateContainerConfigError: secret "x" not found',
    ),
    ("another word", pod(waiting("CreateContainerError", 'name "c_4" is reserved')), "CreateContainerError"),
    (
        "init container",
        {**pod(), "status": {"initContainerStatuses": [waiting("InvalidImageName")]}},
        "InvalidImageName",
    ),
    (
        "no node",
        pod(
            conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]
        ),
        "Unschedulable: 0/1 nodes",
    ),
]


@pytest.mark.parametrize(("obj", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_pod_says_why_it_does_not_come_up(obj: dict[str, Any], said: str) -> None:
    assert [str(trouble) for trouble in troubles([obj], [])] == ([f"pod corp-sts-a: {said}"] if said else [])


def test_one_that_is_leaving_is_no_trouble() -> None:
    leaving = pod(waiting("ErrImagePull"))
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert troubles([leaving], []) == ()


def test_a_deployment_whose_pods_are_refused_says_why_without_the_name_that_changes() -> None:
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": 'pods "corp-sts-7f-x2" is forbidden: exceeded quota: pods',
    }
    deployment = {"metadata": {"name": "corp-sts"}, "status": {"conditions": [failure]}}
    (found,) = troubles([], [deployment])
    assert str(found) == "deployment corp-sts: FailedCreate: exceeded quota: pods"


def test_what_needs_a_person_comes_first() -> None:
    unschedulable = pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable"}], name="a")
    assert [found.where for found in troubles([unschedulable, pod(waiting("ErrImagePull"), name="b")], [])] == [
        "pod b",
        "pod a",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("HEAD https://user:hunter2@reg.example/v2/: 401", "HEAD https://reg.example/v2/: 401"),
        ('Get "https://cdn.example/blob?X-Amz-Signature=abc&x=y": EOF', 'Get "https://cdn.example/blob": EOF'),
        ("Authorization: Bearer eyJhbGciOi.x.y refused", "Authorization: Bearer … refused"),
        ("read udp 10.0.0.1:54321->10.0.0.10:53: i/o timeout", "read udp 10.0.0.10:53: i/o timeout"),
        ("two\n  lines", "two lines"),
        ('secret "regcred" not found', 'secret "regcred" not found'),
        ("login failed: password=hunter2, retry", "login failed: password=…, retry"),
        ("refresh_token=eyJhbGciOi&x=y", "refresh_token=…&x=y"),
    ],
)
def test_texts_lose_what_must_not_be_told_and_what_changes(text: str, told: str) -> None:
    assert spared(text) == told


def test_long_texts_are_cut() -> None:
    assert len(spared("x" * 1000)) == LENGTH


async def test_a_provider_without_replicas_names_the_pod_and_is_stalled() -> None:
    seen = world(signing_key(), provider())
    seen.replicas.tell(NS, "corp", [])
    await seen.converge()
    assert conditions(seen)["Programmed"] == ("False", "NoReplicas")
    labels = {"app.kubernetes.io/managed-by": "tailseal", "tailseal.dev/identity-provider": "corp"}
    stuck = pod(waiting("ErrImagePull", NOT_FOUND))
    stuck["metadata"] |= {"namespace": NS, "labels": labels}
    seen.cluster.user_apply({"apiVersion": "v1", "kind": "Pod", **stuck})
    await seen.converge()
    said = conditions(seen)
    assert said["Programmed"] == said["WorkersAvailable"] == ("False", "WorkloadUnavailable")
    assert said["Stalled"] == ("True", "WorkloadUnavailable")
    status = seen.cluster.peek(kinds.IDENTITY_PROVIDER, NS, "corp")["status"]
    (text,) = [entry["message"] for entry in status["conditions"] if entry["type"] == "Stalled"]
    assert text == f"no pod of idp, sts was ready yet: pod corp-sts-a: ImagePullBackOff: {NOT_FOUND}"
    seen.cluster.user_delete(kinds.POD, NS, "corp-sts-a")
    await seen.converge()
    assert "WorkersAvailable" not in conditions(seen)
