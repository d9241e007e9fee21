"""Structural schemas (OpenAPI v3 as CRDs allow it) from models: no references, no nulls, no titles."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from tailseal.api.base import ApiModel, Rule, to_alias
from tailseal.api.crd.docs import field_docs, one_line
from tailseal.api.durations import PATTERN as DURATION
from tailseal.api.durations import format_duration

Schema = dict[str, Any]

_NOISE = ("title", "const", "$defs", "x-default-in-code", "x-union")


class _Generator(GenerateJsonSchema):
    """JSON Schema as pydantic makes it, plus what stands next to the models: rules and descriptions."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Absent is how a manifest says None."""
        return self.generate_inner(schema["schema"])

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Add the rules of the model and the descriptions of its fields."""
        result = super().model_schema(schema)
        model = schema["cls"]
        if issubclass(model, ApiModel):
            docs = field_docs(model)
            for attribute in model.model_fields:
                result["properties"][to_alias(attribute)]["description"] = docs.get(attribute, "")
            result["description"] = one_line(model.__doc__ or "")
            result.pop("additionalProperties", None)
            if model.rules:
                result["x-kubernetes-validations"] = [validation(rule) for rule in model.rules]
                result["x-union"] = any(rule.union for rule in model.rules)
        return result


def validation(rule: Rule) -> Schema:
    """A rule as the API server takes it."""
    result = {"rule": rule.cel, "message": rule.message}
    if rule.message_expression is not None:
        result["messageExpression"] = rule.message_expression
    return result


def structural(model: type[ApiModel]) -> Schema:
    """The structural schema of a model."""
    raw = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    return _finish(_inline(raw, raw.get("$defs", {})))


def _inline(node: Any, definitions: Schema) -> Any:  # noqa: ANN401 - any part of a schema
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[1]]
        node = {**target, **{name: value for name, value in node.items() if name != "$ref"}}
    if "const" in node:
        node = {**node, "enum": [node["const"]]}
    return {name: _inline(value, definitions) for name, value in node.items()}


def _inside_map_keys(keys: Schema) -> Schema:
    """Structural schemas cannot speak of map keys; CEL can."""
    if "enum" in keys:
        allowed = ", ".join(keys["enum"])
        listed = ", ".join(f"'{key}'" for key in keys["enum"])
        return {"rule": f"self.all(key, key in [{listed}])", "message": f"keys must be of {allowed}"}
    longest = keys["maxLength"]
    return {
        "rule": f"self.all(key, key.size() >= 1 && key.size() <= {longest})",
        "message": f"keys must have 1 to {longest} characters",
    }


def _finish(node: Schema, *, in_union: bool = False) -> Schema:
    """The node as CRDs allow it, with the defaults that may stand in it.

    Within a union none may, nor at the field that holds it: the API server would store it, nobody would own it, and
    a manifest that switches to another member could not be applied any more.
    """
    result = {name: value for name, value in node.items() if name not in _NOISE}
    inside = in_union or bool(node.get("x-union"))
    for name in ("items", "additionalProperties"):
        if name in result:
            result[name] = _finish(result[name], in_union=inside)
    # The API server does not keep empty ones, and what compares a CRD with Git would see a difference for ever.
    if result.pop("properties", None):
        result["properties"] = {name: _finish(member, in_union=inside) for name, member in node["properties"].items()}
    if "propertyNames" in result:
        result["x-kubernetes-validations"] = [_inside_map_keys(result.pop("propertyNames"))]
    result.pop("default", None)
    if not inside and not node.get("x-default-in-code"):
        result |= _default(node, result)
    return result


def _default(node: Schema, result: Schema) -> Schema:
    value = node.get("default")
    if isinstance(value, dict):
        defaults = default_members(result)
        return {"default": defaults} if defaults else {}
    if value in (None, []):
        return {}
    if node.get("pattern") == DURATION:
        value = format_duration(value)
    said = str(value).lower() if isinstance(value, bool) else value
    return {"default": value, "description": f"{result['description']} Default: {said}."}


def default_members(schema: Schema) -> Schema:
    """The default of an object: all its members' defaults, because rules see it before those are filled in."""
    return {name: member["default"] for name, member in schema.get("properties", {}).items() if "default" in member}
