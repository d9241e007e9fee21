"""The story of an installation that Argo CD keeps as Git says: each step, with the application's status."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from typing import Any, Final

import httpx

from tailseal_dev.argocd import manifests
from tailseal_dev.argocd.server import NAMESPACE
from tailseal_dev.argocd.stage import SPACE, Stage
from tailseal_dev.demo.caller import Answer, kids, verify
from tailseal_dev.demo.narrator import until

WATCHED: Final = 20.0
"""Seconds for which an application at rest is watched."""

_CUSTOM = ("signingkeys", "identityproviders", "trustpolicies")
_OWNED = ("deployments", "replicasets", "pods", "services", "configmaps", "secrets", "serviceaccounts")
_OWNED_TOO = ("networkpolicies", "poddisruptionbudgets", "endpointslices")
_APP = (f"application/{manifests.APPLICATION}", f"--namespace={NAMESPACE}")


def tell(scene: Stage) -> None:
    """All of it, in order.

    Raises:
        Disappointment: something did not happen, after which nothing else makes sense.
    """
    commit = install(scene)
    stays_synced(scene)
    drift(scene, commit)
    bad_policy(scene)
    removed_policy(scene)
    everything_again(scene)


def install(scene: Stage) -> str:
    """The first sync; the commit's id."""
    scene.told.step("A repository with the chart, a key and an issuer, and a policy; one Application")
    repository = scene.repository
    repository.write("identity/provider.yaml", manifests.provider(scene.issuer))
    repository.write("identity/deploy.yaml", manifests.policy("deploy", scene.ci.jwks))
    commit = repository.commit("Tailseal, an issuer, and trust in the CI system")
    _apply(scene)
    seen: list[str] = []
    granted: list[bool] = []

    def healthy() -> bool:
        now = scene.status()
        line = f"{now.sync or '-'}/{now.health or '-'}"
        if line not in seen[-1:]:
            seen.append(line)
            scene.show("now")
        if now.health == "Healthy" and now.sync == "Synced":
            granted.extend(answer.status == httpx.codes.OK for answer in scene.ask_all(scene.job()))
        return bool(granted)

    seconds = until(healthy, within=240, what="the application is Synced and Healthy", every=0.1)
    scene.told.fact("Application applied → Synced and Healthy", f"{seconds:.1f} s: {' → '.join(seen)}")
    scene.told.expect(
        "when it first is Healthy, every replica exchanges",
        holds=all(granted) and len(granted) == manifests.REPLICAS,
        seen=str(granted),
    )
    return commit


def stays_synced(scene: Stage) -> None:
    """Nothing that the operator does moves the application."""
    scene.told.step("At rest")
    ended, states = time.monotonic() + WATCHED, set()
    while time.monotonic() < ended:
        now = scene.status()
        states.add((now.sync, now.health))
        time.sleep(0.2)
    holds = states == {("Synced", "Healthy")}
    scene.told.fact(f"for {WATCHED:.0f} s it stays Synced and Healthy", str(sorted(states)), holds=holds)
    foreign = [line for obj in scene.objects(*_CUSTOM) for line in _writes_beyond_status(obj)]
    scene.told.fact("the operator owns nothing but status of users' objects", str(foreign or "so"), holds=not foreign)
    children = [obj for obj in scene.objects(*_OWNED, *_OWNED_TOO) if _is_ours(obj)]
    copied = [f"{obj['kind']}/{obj['metadata']['name']}" for obj in children if _copied(obj)]
    scene.told.fact(
        "what it makes carries no label and no annotation of users' objects",
        f"{len(children)} objects looked at, {copied or 'none does'}",
        holds=bool(children) and not copied,
    )


def drift(scene: Stage, commit: str) -> None:
    """Somebody edits the cluster by hand: his object and one of ours."""
    scene.told.step("Somebody edits the cluster by hand")
    scene.show("before")
    policy, patch = ("trustpolicy/deploy", SPACE), '{"spec":{"grants":[{"name":"billing","jwt":{"audiences":["x"]}}]}}'
    scene.told.command(f"kubectl patch trustpolicy/deploy --type=merge --patch='{patch}'")
    scene.kubectl("patch", *policy, "--type=merge", f"--patch={patch}")
    path = "-o=jsonpath={.spec.grants[0].jwt.audiences[0]}"
    seconds = until(
        lambda: scene.kubectl("get", *policy, path) == manifests.AUDIENCE,
        within=120,
        what="Argo CD puts the policy back",
    )
    scene.told.fact("a policy edited in the cluster → put back by Argo CD", f"{seconds:.1f} s")
    deployment, patch = (
        ("deployment/corp-sts", SPACE),
        '{"spec":{"template":{"spec":{"serviceAccountName":"default"}}}}',
    )
    scene.told.command(f"kubectl patch deployment/corp-sts --type=merge --patch='{patch}'")
    scene.kubectl("patch", *deployment, "--type=merge", f"--patch={patch}")
    path = "-o=jsonpath={.spec.template.spec.serviceAccountName}"
    seconds = until(
        lambda: scene.kubectl("get", *deployment, path) == "corp-sts",
        within=120,
        what="the operator repairs its Deployment",
    )
    scene.told.fact("a Deployment of the operator's edited → repaired by the operator", f"{seconds:.1f} s")
    until(lambda: _repairs(scene), within=90, what="the operator says that it repaired something")
    said = _repairs(scene)
    scene.told.fact("it says so in one event", said[0], holds=len(said) == 1)
    scene.settled(commit)
    scene.show("after")


def bad_policy(scene: Stage) -> None:
    """A policy that the API server takes and the operator cannot accept."""
    scene.told.step("A policy for our own issuer as audience, which no policy may give")
    scene.show("before")
    scene.repository.write("identity/greedy.yaml", manifests.policy("greedy", scene.ci.jwks, audience=scene.issuer))
    commit = scene.push("Trust too much")
    seconds = scene.settled(commit, "Degraded")
    message = scene.status().message("TrustPolicy", "greedy")
    scene.show("after")
    scene.told.fact("bad policy committed → Degraded", f"{seconds:.1f} s")
    scene.told.fact("the application has our message", message, holds="audience" in message)
    granted = [answer.status == httpx.codes.OK for answer in scene.ask_all(scene.job())]
    scene.told.fact("the other policy goes on", str(granted), holds=all(granted))
    scene.repository.remove("identity/greedy.yaml")
    scene.settled(scene.push("Trust less again"))


def removed_policy(scene: Stage) -> None:
    """A policy leaves Git: the trust is withdrawn."""
    scene.told.step("The policy leaves the repository")
    scene.show("before")
    token = scene.job()
    scene.repository.remove("identity/deploy.yaml")
    commit = scene.push("Trust the CI system no longer")
    listed = ("get", "trustpolicies", SPACE, "-o=name")
    seconds = until(lambda: not scene.kubectl(*listed), within=120, what="the policy is pruned")
    scene.told.fact("commit → policy pruned by Argo CD", f"{seconds:.1f} s")
    seconds = until(lambda: scene.refused(token), within=120, what="every replica refuses", every=0.02)
    scene.told.fact("policy pruned → refused by every replica", f"{seconds:.1f} s")
    scene.settled(commit)
    scene.show("after")


def everything_again(scene: Stage) -> None:
    """All of it is deleted and synced again: nobody's tokens die and nobody becomes somebody else."""
    scene.told.step("Everything is deleted, and synced again")
    scene.repository.write("identity/deploy.yaml", manifests.policy("deploy", scene.ci.jwks))
    commit = scene.push("Trust the CI system again")
    scene.settled(commit)
    before = _granted(scene)
    kept = _kept(scene)
    scene.show("before")
    scene.told.command(f"kubectl delete application {manifests.APPLICATION}")
    started = time.monotonic()
    scene.kubectl("delete", *_APP, "--timeout=240s")
    until(lambda: not scene.replicas(), within=120, what="the workers are gone", every=0.2)
    gone = scene.kubectl("get", "signingkeys,identityproviders,trustpolicies", SPACE, "-o=name", check=False)
    scene.told.fact("deleted", f"{time.monotonic() - started:.1f} s, left of ours: {gone or 'nothing'}", holds=not gone)
    crds = scene.kubectl("get", "crds", "-o=name").split()
    ours = [name for name in crds if name.endswith(".tailseal.dev")]
    scene.told.fact("the CRDs stay, and so may what others have", f"{len(ours)} CRDs", holds=bool(ours))
    scene.told.command("kubectl apply -f application.yaml")
    _apply(scene)
    seconds = scene.settled(commit)
    scene.show("after")
    scene.told.fact("Application applied again → Synced and Healthy", f"{seconds:.1f} s")
    after = _granted(scene)
    jwks = scene.jwks()
    old = _claims(scene, before, jwks)
    new = _claims(scene, after, jwks)
    scene.told.fact(
        "a token from before verifies, and so does the next one", str(old.get("sub")), holds=bool(old and new)
    )
    scene.told.fact("the same keys and salts", f"{len(kids(jwks))} keys published", holds=_kept(scene) == kept)


def _apply(scene: Stage) -> None:
    manifest = manifests.application(scene.repository.url, scene.image)
    scene.kubectl("apply", "--filename=-", stdin=manifest)


def _granted(scene: Stage) -> Answer:
    found: list[Answer] = []

    def one() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            found[:] = [answer for answer in scene.ask_all(scene.job()) if answer.status == httpx.codes.OK]
        return bool(found)

    until(one, within=90, what="an exchange is granted")
    return found[0]


def _claims(scene: Stage, answer: Answer, jwks: dict[str, Any]) -> dict[str, Any]:
    return dict(verify(answer.token, jwks, issuer=scene.issuer, audience=manifests.AUDIENCE))


def _kept(scene: Stage) -> dict[str, str]:
    """Digests of the Secrets that outlive their objects: who they are, not what changes in them with time."""
    found = {}
    for obj in scene.objects("secrets"):
        if obj["metadata"]["name"] in {"corp-issuer", "corp-signingkey"}:
            stable = {name: value for name, value in obj["data"].items() if name.endswith((".pem", "salt"))}
            digest = hashlib.sha256(json.dumps([obj["metadata"]["uid"], stable], sort_keys=True).encode())
            found[obj["metadata"]["name"]] = digest.hexdigest()
    return found


def _repairs(scene: Stage) -> list[str]:
    path = "-o=jsonpath={range .items[?(@.reason=='Repaired')]}{.message}{'\\n'}{end}"
    return scene.kubectl("get", "events", SPACE, path).splitlines()


def _writes_beyond_status(obj: dict[str, Any]) -> list[str]:
    """What managers of ours own of an object beyond its status."""
    name = f"{obj['kind']}/{obj['metadata']['name']}"
    return [
        f"{name} {field} by {entry['manager']}"
        for entry in obj["metadata"].get("managedFields", ())
        if entry["manager"].startswith("tailseal")
        for field in entry.get("fieldsV1", {})
        if field != "f:status"
    ]


def _is_ours(obj: dict[str, Any]) -> bool:
    return bool(obj["metadata"].get("labels", {}).get("tailseal.dev/identity-provider"))


def _copied(obj: dict[str, Any]) -> bool:
    meta = obj["metadata"]
    names = {*meta.get("labels", {}), *meta.get("annotations", {})}
    return any(name == manifests.MARK or name.startswith("argocd.argoproj.io/") for name in names)
