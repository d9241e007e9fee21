"""Resources with places for path parameters, such as `items/{id}`: filled so that no value passes for another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Self


@dataclass(frozen=True, slots=True)
class Template:
    """A resource as the service names it.

    Args:
        text: as written.
        parts: a literal text, and the name of the parameter that follows; empty: none does.
    """

    text: str
    parts: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Braces around a name are a parameter's place; doubled ones are braces.

        Raises:
            ValueError: it is no template; says what would be right.
        """
        if not text:
            raise ValueError("a resource must not be empty: write * for everything")
        parts = []
        for literal, name, form, conversion in Formatter().parse(text):
            if name is not None and (not name.isidentifier() or form or conversion):
                raise ValueError(
                    f"{text!r}: braces hold the name of a path parameter and nothing else, as in items/{{id}}"
                )
            parts.append((literal, name or ""))
        return cls(text, tuple(parts))

    @property
    def names(self) -> frozenset[str]:
        """Of its parameters."""
        return frozenset(name for _, name in self.parts if name)

    def filled(self, parameters: Mapping[str, object]) -> str | None:
        """The resource that is meant; None: the values mean none, or could be mistaken for another one's.

        A value is one segment of the path. Only what ends the resource may have several: what would follow them could
        not be told from them.

        Raises:
            LookupError: a parameter is not there: the route has no such name.
        """
        filled = []
        for number, (literal, name) in enumerate(self.parts, start=1):
            filled.append(literal)
            if name:
                value = str(parameters[name])
                if not value or ("/" in value and number != len(self.parts)):
                    return None
                filled.append(value)
        return "".join(filled)
