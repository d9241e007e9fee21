"""From a JSON value to its model, or to readable findings: apart from the kinds, since workers need but one of them."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tailseal.api.base import ApiModel
from tailseal.api.fields import LOOPBACK
from tailseal.api.findings import Finding, SpecError, join_path

ModelT = TypeVar("ModelT", bound=ApiModel)

_encode: Final = json.JSONEncoder(allow_nan=False).encode

_TYPES: Final = {
    "string_type": "a string (in YAML: put it in quotes)",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}


def parse_spec(model: type[ModelT], spec: object, *, path: str = "spec", loopback: bool = False) -> ModelT:
    """A JSON value as the model, as strictly as the API server takes it: no number is a string, null is absent.

    Args:
        model: what it should be.
        spec: the value.
        path: where it stands, for the findings.
        loopback: whether http URLs of this very machine are fine.

    Raises:
        SpecError: with one finding for everything that is wrong.
    """
    try:
        text = _encode(spec)
        if "null" in text:  # rarely, and looking at every value costs more than all else here
            text = _encode(_without_nulls(spec))
    except (TypeError, ValueError):
        message = "holds something that JSON does not have (in YAML: put dates in quotes)"
        raise SpecError([Finding(path, message)]) from None
    try:
        return model.model_validate_json(text, strict=True, context={LOOPBACK: loopback})
    except ValidationError as error:
        raise SpecError(_finding(model, path, detail) for detail in error.errors(include_url=False)) from None


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item) for item in value]
    return value


def _finding(model: type[BaseModel], path: str, detail: ErrorDetails) -> Finding:
    location = detail["loc"]
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        message = "is required"
    elif kind == "extra_forbidden":
        message = f"there is no such field; there are: {', '.join(_members(model, location[:-1]))}"
    elif kind in _TYPES:
        message = f"must be {_TYPES[kind]}"
    elif kind == "literal_error":
        message = f"must be {context['expected']}"
    elif kind == "string_pattern_mismatch":
        message = f"must match {context['pattern']}"
    else:
        message = detail["msg"][:1].lower() + detail["msg"][1:]
    return Finding(join_path(path, (part for part in location if part != "[key]")), message)


def _members(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Names of the fields of the object at that location, as a manifest has them."""
    schema = _schema(model)
    here = schema
    for part in location:
        here = _inner(schema, here["items"] if isinstance(part, int) else here["properties"][part])
    return sorted(here.get("properties", ()))


# Making it takes a tenth of a second, and a manifest may name any number of fields that are not there.
@lru_cache(maxsize=8)
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _inner(schema: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    for option in here.get("anyOf", ()):
        if option.get("type") != "null":
            return _inner(schema, option)
    reference = here.get("$ref")
    return schema["$defs"][reference.rsplit("/", 1)[1]] if reference else here
