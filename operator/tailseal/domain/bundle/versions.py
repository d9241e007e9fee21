"""Which version of `settings.json` replicas can read: in a rollout two versions of the program stand side by side.

A worker that is written what it cannot read keeps its last good settings, and grants nothing any more once it has known
for too long that it is behind. So the operator writes no version above that of the lowest reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tailseal.domain.bundle.model import VERSION, Introductions, Settings

ADDED: Final[Mapping[int, Mapping[str, Any]]] = {
    2: {"id_token_ttl": 60, "refresh_token_ttl": 600, "capability": "", "introductions": Introductions()}
}
"""Members of `Settings` by the version that brought them, each with what is read from a file too old to say it: the
strictest value, as a default could be wider than what the provider's owner wrote."""

_VERSION: Final = re.compile(rb'"version":(\d+)')


def lowered(settings: Settings, version: int) -> dict[str, Any]:
    """The JSON value of settings for readers of a version: what came later is left out."""
    later = {name for added, members in ADDED.items() if added > version for name in members}
    document = settings.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=later)
    return document | {"version": min(version, VERSION)}


def raised(content: bytes) -> Settings:
    """`settings.json` of this version or a former one.

    Raises:
        ValidationError: it is none, or of a later version.
    """
    settings = Settings.model_validate_json(content)
    unsaid = {
        name: value for added, members in ADDED.items() if added > settings.version for name, value in members.items()
    }
    return settings.model_copy(update=unsaid) if unsaid else settings


def named(content: bytes) -> int | None:
    """The version that a `settings.json` names, whether it can be read or not; None: it names none."""
    found = _VERSION.search(content)
    return int(found[1]) if found else None


def lowest_reader(reads: Iterable[int], written: bytes) -> int:
    """The version to write: what every replica can read.

    Args:
        reads: what each replica reads, as it reports; 0 for one that was not heard yet.
        written: the present `settings.json`; who was not heard is supposed to read that and nothing later.
    """
    present = min(named(written) or VERSION, VERSION)
    return max(1, min((VERSION, *(version or present for version in reads))))
