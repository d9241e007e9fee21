"""What a caller must have been granted before a request is answered, and whether they were."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from tailseal.domain.capability import read_tscap
from tailseal.guard.denied import NO_CAPABILITY, NO_PERMISSION, Denied
from tailseal.guard.sight import Visitor
from tailseal.guard.template import Template

_NAME: Final = re.compile(r"(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]+(?:/[A-Za-z0-9._-]+)+")
"""What the tailnet's policy file takes for a capability's name: `{domain}/{path}`, without a scheme."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One capability, an action and what to; made by `of`.

    Args:
        capability: its name in the policy file.
        action: compared as it is.
        resources: one grant must cover all of them.
    """

    capability: str
    action: str
    resources: tuple[Template, ...]

    @classmethod
    def of(cls, capability: str, action: str, resource: str | Iterable[str]) -> Self:
        """A requirement as it is written.

        Args:
            capability: such as `example.com/cap/app`.
            action: such as `read`.
            resource: such as `items/{id}`; several: one grant must cover all of them.

        Raises:
            ValueError: it makes no sense; says what would be right.
        """
        if _NAME.fullmatch(capability) is None:
            raise ValueError(f"capability {capability!r}: must have the form example.com/cap/app, without a scheme")
        if not action:
            raise ValueError("the action must not be empty")
        resources = tuple(map(Template.parse, (resource,) if isinstance(resource, str) else resource))
        if not resources:
            raise ValueError("at least one resource must be named: write * for everything")
        return cls(capability, action, resources)

    @property
    def parameters(self) -> frozenset[str]:
        """The path parameters that it names."""
        return frozenset[str]().union(*(resource.names for resource in self.resources))

    def denial(self, visitor: Visitor, parameters: Mapping[str, object]) -> Denied | None:
        """Why the caller may not; None: they may.

        Args:
            visitor: who it is.
            parameters: of the request's path.

        Raises:
            LookupError: the path has no parameter of such a name.
        """
        granted = visitor.capabilities.get(self.capability)
        if granted is None:
            return NO_CAPABILITY
        wanted = [resource.filled(parameters) for resource in self.resources]
        meant = [resource for resource in wanted if resource is not None]
        if len(meant) < len(wanted) or not read_tscap(granted).allow(self.action, *meant):
            return NO_PERMISSION
        return None
