"""The typed blocks of `from`: each becomes what its author could have written in the general form, and more exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tailseal.api.base import to_alias
from tailseal.api.trustpolicy import From
from tailseal.api.trustpolicy.oidc import Demands
from tailseal.domain.policy.general import General, demanding
from tailseal.domain.policy.providers import (
    buildkite,
    circleci,
    github,
    gitlab,
    kubernetes,
    session,
    tailnet,
    terraform,
)

_BLOCKS: Final[Mapping[str, Callable[[Any, str], General]]] = {
    "github": github.general,
    "gitlab": gitlab.general,
    "buildkite": buildkite.general,
    "circleci": circleci.general,
    "terraform": terraform.general,
    "kubernetes": kubernetes.general,
    "session": session.general,
    "tailnet": tailnet.general,
}


def general(trust: From, path: str) -> General:
    """The general form of a typed block.

    Args:
        trust: exactly one of its members is there, and that is typed.
        path: where it stands, e.g. `spec.from`.
    """
    member = next(member for member in _BLOCKS if getattr(trust, member) is not None)
    block = getattr(trust, member)
    found = _BLOCKS[member](block, f"{path}.{to_alias(member)}")
    return demanding(found, block) if isinstance(block, Demands) else found
