"""Tells an object of ours from one that somebody else has under its name: that one is never adopted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tailseal.api.meta import MANAGED_BY, MANAGER
from tailseal.cluster.errors import Transient
from tailseal.cluster.port import Object

RENAME: Final = "give this object another name"


class NameTaken(Exception):  # noqa: N818 - a name of the field
    """An object that is not ours holds the name."""


class Leaving(Transient):
    """An object of the name is on its way out; as it may be held by somebody's finalizer, others must not wait."""


def ours(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that make an object ours: these, and who manages it."""
    return {MANAGED_BY: MANAGER, **labels}


def marked(obj: Object, labels: Mapping[str, str]) -> bool:
    """Whether it carries all these labels."""
    present: dict[str, str] = obj["metadata"].get("labels", {})
    return labels.items() <= present.items()


def controllers(obj: Object) -> set[str]:
    """The uid of whom it belongs to, if anybody: of an object there is one that controls it at the most."""
    return {owner["uid"] for owner in obj["metadata"].get("ownerReferences", ()) if owner.get("controller")}


def taken(kind: str, name: str, remedy: str = RENAME) -> NameTaken:
    """What to raise; `remedy`: what else may be done than take the other object away."""
    return NameTaken(f"{kind} {name} is there but not ours: delete or rename it, or {remedy}")
