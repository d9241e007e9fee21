"""What the queue holds: which controller is to look at which object."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """A controller's name and the object (or provider) it is about."""

    controller: str
    namespace: str
    name: str
