"""Takes the fleet through one rotation and through an emergency, and measures them from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from tailseal_dev.demo.narrator import Disappointment, until
from tailseal_dev.demo.stage import SPACE
from tailseal_dev.fleet.disturbances import Disturbance, Phase
from tailseal_dev.fleet.scene import Scene

COMPLETE_WITHIN = 240.0
_EVERY = 0.2
SPARE_SECONDS = 35.0
"""For so long a new spare must have been published before it may sign in an emergency without a token lost."""
_DEAD_WITHIN = 20.0
"""Seconds: a kube-apiserver remembers for ten that a token was good."""


@dataclass(slots=True)
class Course:
    """When each phase was reached, in seconds since the rotation was asked for."""

    reached: dict[Phase, float] = field(default_factory=dict)


def rotate(scene: Scene, disturbance: Disturbance) -> Course:
    """One rotation of whichever key signs now, with its disturbance.

    Raises:
        Disappointment: it does not come to an end.
    """
    until(lambda: scene.traffic.signer and _published(scene), within=30, what="tokens are issued")
    course, before, known = Course(), scene.traffic.signer, _published(scene)
    started = time.monotonic()
    last = Phase.SIGNING if disturbance.reorders else Phase.GONE
    if disturbance.reorders:
        scene.order = tuple(reversed(scene.order))
        scene.provide()
    else:
        _ask(scene)
    while last not in course.reached:
        elapsed = time.monotonic() - started
        if elapsed > COMPLETE_WITHIN:
            raise Disappointment(f"{disturbance.what}: not over after {COMPLETE_WITHIN:.0f} s: {course.reached}")
        for phase in _phases(scene, before, known, course, reorders=disturbance.reorders):
            course.reached[phase] = elapsed
            if act := disturbance.acts.get(phase):
                act(scene)
        time.sleep(_EVERY)
    return course


def _ask(scene: Scene) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    key = scene.order[0]
    annotation = f"tailseal.dev/rotate={stamp}"
    scene.stage.cluster.kubectl("annotate", "--overwrite", f"signingkey/{key}", SPACE, annotation, show=False)


def _phases(scene: Scene, before: str, known: set[str], course: Course, *, reorders: bool) -> list[Phase]:
    """Phases that are reached now and were not before; each only after the one before it."""
    if Phase.ASKED not in course.reached:
        return [Phase.ASKED]
    if Phase.PUBLISHED not in course.reached:
        return [Phase.PUBLISHED] if reorders or _published(scene) - known else []
    if Phase.SIGNING not in course.reached:
        return [Phase.SIGNING] if scene.traffic.signer != before else []
    return [Phase.GONE] if before not in _anywhere(scene, scene.replicas()) else []


def _published(scene: Scene) -> set[str]:
    """Key ids that every replica serves; none while one does not answer."""
    served = [_served(scene, replica) for replica in scene.replicas()]
    return set.intersection(*served) if served else set()


def _anywhere(scene: Scene, replicas: Sequence[str]) -> set[str]:
    """Key ids that any replica serves; one that does not answer may serve any."""
    served = [_served(scene, replica) or {scene.traffic.signer} for replica in replicas]
    return set().union(*served)


def _served(scene: Scene, replica: str) -> set[str]:
    try:
        return scene.stage.caller.jwks_of_replica(replica)
    except httpx.HTTPError:
        return set()


@dataclass(frozen=True, slots=True)
class Emergency:
    """Seconds from the answer to the patch until the revoked key was gone.

    Args:
        published: from the JWKS of every replica.
        signed: from the last token that anybody got.
        spare: whether the key that signs now is one that verifiers could know before.
        held: whether the kube-apiserver still took a token of the revoked key that it had not seen, before the poke.
        poked: seconds from the poke until it no longer did.
    """

    published: float
    signed: float
    spare: bool
    held: bool
    poked: float


def revoke(scene: Scene, poke: str) -> Emergency:
    """Revoke the key that signs now.

    Args:
        scene: where.
        poke: a token of our issuer with a key id that nobody knows: it makes a kube-apiserver fetch.

    Raises:
        Disappointment: it does not go.
    """
    revoked, key, known = scene.traffic.signer, scene.order[0], _published(scene)
    unseen = [issued for issued in (scene.traffic.ask() for _ in range(40)) if issued and issued.kid == revoked]
    scene.traffic.revoked.add(revoked)
    replicas = scene.replicas()
    patch = json.dumps({"spec": {"revokedKeyIDs": [revoked]}})
    scene.stage.cluster.kubectl("patch", f"signingkey/{key}", SPACE, "--type=merge", "-p", patch)
    started = time.monotonic()
    until(
        lambda: revoked not in _anywhere(scene, replicas),
        within=30,
        what="the revoked key leaves every JWKS",
        every=0.02,
    )
    published = time.monotonic() - started
    until(lambda: (issued := scene.traffic.ask()) and issued.kid != revoked, within=30, what="another key signs")
    signed = time.monotonic() - started
    issued = scene.traffic.ask()
    held = scene.apiserver.verdict(unseen.pop().token) == ""
    scene.apiserver.verdict(poke)
    asked = time.monotonic()
    until(lambda: scene.apiserver.verdict(unseen[-1].token) != "", within=_DEAD_WITHIN, what="the API server drops it")
    return Emergency(published, signed, issued is not None and issued.kid in known, held, time.monotonic() - asked)
