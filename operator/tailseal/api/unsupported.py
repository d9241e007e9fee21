"""What a spec may say already although this version cannot do it: reported with the field path, never ignored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, get_args

from tailseal.api.base import ApiModel, to_alias
from tailseal.api.findings import Finding, join_path
from tailseal.api.reasons import Reason

_LATER: Final[Mapping[str, Callable[[Any], bool]]] = {}
"""Fields that this version cannot honour, with the question whether a value asks for it: none, as README says.

By name, not by class: a worker needs the models of policies only, and should not load those of the other kinds.
"""


def unsupported(spec: ApiModel, path: str = "spec") -> list[Finding]:
    """Everything in a spec that this version cannot do, as `NotSupportedYet` findings.

    Args:
        spec: a spec's model.
        path: where it stands.
    """
    message = "is not supported by this version yet: leave it out"
    return [Finding(join_path(path, parts), message, Reason.NOT_SUPPORTED_YET) for parts in _asked(spec)]


def _asked(model: ApiModel) -> Iterator[tuple[str | int, ...]]:
    """Where in the model something later is asked for."""
    given = model.model_fields_set  # what was left out asks for nothing
    for attribute, asks in _places(type(model)):
        value = getattr(model, attribute) if attribute in given else None
        if value is None:
            continue
        here = to_alias(attribute)
        if asks is not None and asks(value):
            yield (here,)
        elif isinstance(value, ApiModel):
            yield from ((here, *parts) for parts in _asked(value))
        elif isinstance(value, tuple):
            models = ((index, item) for index, item in enumerate(value) if isinstance(item, ApiModel))
            yield from ((here, index, *parts) for index, item in models for parts in _asked(item))


@functools.cache
def _places(model: type[ApiModel]) -> tuple[tuple[str, Callable[[Any], bool] | None], ...]:
    """Attributes in or below which something later can be asked for, with their question if they have one."""
    return tuple(
        (attribute, _LATER.get(f"{model.__name__}.{attribute}"))
        for attribute, field in model.model_fields.items()
        if f"{model.__name__}.{attribute}" in _LATER or any(map(_places, _models(field.annotation)))
    )


def _models(annotation: Any) -> Iterator[type[ApiModel]]:  # noqa: ANN401 - annotations have no common type
    """The models that values of the annotated type can be, or can hold."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
