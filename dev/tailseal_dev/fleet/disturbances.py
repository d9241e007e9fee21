"""What happens to the cluster while a key rotates, and when: one row of the fleet's table each."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tailseal_dev.fleet.scene import Scene

FROZEN_SECONDS = 20.0


class Phase(StrEnum):
    """How far a rotation is, as seen from outside."""

    ASKED = "asked for"
    PUBLISHED = "published everywhere"
    SIGNING = "new key signs"
    GONE = "old key gone"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One rotation's trouble.

    Args:
        what: in words.
        acts: what is done when a phase is reached.
        reorders: whether the rotation itself is a change of the provider's default key.
    """

    what: str
    acts: Mapping[Phase, Callable[[Scene], None]] = field(default_factory=dict)
    reorders: bool = False


def _freeze(scene: Scene) -> None:
    pid = scene.signal_worker("sts", signal.SIGSTOP)
    threading.Timer(FROZEN_SECONDS, os.kill, (pid, signal.SIGCONT)).start()


def _scale(replicas: int) -> Callable[[Scene], None]:
    def scale(scene: Scene) -> None:
        scene.sts_replicas = replicas
        scene.provide()

    return scale


def _kill_both(scene: Scene) -> None:
    scene.kill_worker("sts")
    scene.restart_operator()


DISTURBANCES = (
    Disturbance("none"),
    Disturbance("operator killed as soon as it is asked", {Phase.ASKED: Scene.restart_operator}),
    Disturbance("operator killed while both keys wait", {Phase.PUBLISHED: Scene.restart_operator}),
    Disturbance("operator killed as the new key signs", {Phase.SIGNING: Scene.restart_operator}),
    Disturbance("a token service replica killed", {Phase.PUBLISHED: Scene.kill_worker}),
    Disturbance("a token service replica frozen for 20 s", {Phase.ASKED: _freeze}),
    Disturbance("token service scaled up, then down", {Phase.PUBLISHED: _scale(3), Phase.SIGNING: _scale(2)}),
    Disturbance("default key changed: other algorithm first", reorders=True),
    Disturbance("an identity provider replica killed", {Phase.SIGNING: lambda scene: scene.kill_worker("idp")}),
    Disturbance("replica and operator killed together", {Phase.PUBLISHED: _kill_both}),
)
