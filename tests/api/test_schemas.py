"""The laws that hold for every CRD, wherever in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailseal.api.crd.__main__ import files, main
from tailseal.api.crd.definition import custom_resource_definition
from tailseal.api.kinds import KINDS

CRDS = Path(__file__).parents[2] / "crds"


def nodes(schema: dict[str, Any], path: str = "", *, union: bool = False) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every node of a schema with its path, and whether it is, or stands within, a union."""
    here = union or any("messageExpression" in rule for rule in schema.get("x-kubernetes-validations", ()))
    yield path, schema, here
    for name, member in schema.get("properties", {}).items():
        yield from nodes(member, f"{path}.{name}", union=here)
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from nodes(schema[name], f"{path}[]", union=here)


def everywhere() -> list[tuple[str, dict[str, Any], bool]]:
    found = []
    for kind, info in KINDS.items():
        schema = custom_resource_definition(info)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        found += [(kind + path, node, union) for path, node, union in nodes(schema)]
    return [item for item in found if item[0].count(".") and ".metadata" not in item[0]]


EVERYWHERE = everywhere()


def test_no_name_reads_as_a_boolean_by_yaml_1_1() -> None:
    for content in files().values():
        assert not re.search(r"^\s*(?:- )?[yYnN](?::|$)", content, re.MULTILINE)
        assert not re.search(r":\s+[yYnN]$", content, re.MULTILINE)


def test_the_committed_crds_are_the_generated_ones() -> None:
    on_disk = {path.name: path.read_text() for path in CRDS.iterdir()}
    assert on_disk == files(), "run `make crds`"


def test_the_command_writes_all_files(tmp_path: Path) -> None:
    assert main([str(tmp_path / "new")]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(files())


def test_the_command_refuses_to_guess_a_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_every_field_has_a_description() -> None:
    fields = [(path, node) for path, node, _ in EVERYWHERE if not path.endswith("[]")]
    assert [path for path, node in fields if len(node.get("description", "")) < 5] == []


def test_every_list_has_a_limit_and_says_how_it_merges() -> None:
    lists = [(path, node) for path, node, _ in EVERYWHERE if node.get("type") == "array"]
    assert [path for path, node in lists if not {"maxItems", "x-kubernetes-list-type"} <= set(node)] == []


def test_lists_of_named_things_are_maps_by_name() -> None:
    named = [
        (path, node)
        for path, node, _ in EVERYWHERE
        if node.get("type") == "array" and "name" in node["items"].get("properties", {})
    ]
    assert [path for path, node in named if node["x-kubernetes-list-type"] != "map"] == []
    assert len(named) > 5


def test_every_string_has_a_limit() -> None:
    strings = [(path, node) for path, node, _ in EVERYWHERE if node.get("type") == "string"]
    own = [item for item in strings if not item[0].endswith((".apiVersion", ".kind"))]
    assert [path for path, node in own if not {"maxLength", "enum"} & set(node)] == []


def test_every_map_has_a_limit() -> None:
    maps = [(path, node) for path, node, _ in EVERYWHERE if "additionalProperties" in node]
    assert [path for path, node in maps if "maxProperties" not in node] == []


def test_no_default_stands_in_or_around_a_union() -> None:
    unions = [(path, node) for path, node, union in EVERYWHERE if union]
    assert [path for path, node in unions if "default" in node] == []
    assert len(unions) > 100


def test_no_default_of_an_object_creates_a_member_of_a_union() -> None:
    roots = {
        path
        for path, node, _ in EVERYWHERE
        if any("messageExpression" in rule for rule in node.get("x-kubernetes-validations", ()))
    }
    for path, node, _ in EVERYWHERE:
        for member in node.get("default", ()) if isinstance(node.get("default"), dict) else ():
            assert f"{path}.{member}" not in roots


def test_schemas_are_structural() -> None:
    forbidden = {"$ref", "title", "nullable", "propertyNames", "const", "prefixItems", "allOf", "oneOf", "not"}
    assert [path for path, node, _ in EVERYWHERE if forbidden & set(node)] == []
    assert [
        path for path, node, _ in EVERYWHERE if "anyOf" in node and not node.get("x-kubernetes-int-or-string")
    ] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_crd_has_what_kubectl_shows(kind: str) -> None:
    version = custom_resource_definition(KINDS[kind])["spec"]["versions"][0]
    columns = {column["name"]: column for column in version["additionalPrinterColumns"]}
    assert next(iter(columns)) == "Ready"
    assert list(columns)[-1] == "Age"
    assert "priority" not in columns["Reason"]
    assert columns["Message"]["priority"] == 1
    assert version["subresources"] == {"status": {}}


def test_no_rule_reads_differently_in_two_places() -> None:
    rules: dict[str, set[str]] = {}
    for path, node, _ in EVERYWHERE:
        for rule in node.get("x-kubernetes-validations", ()):
            rules.setdefault(f"{path.split('.')[0]} {rule['message']}", set()).add(json.dumps(rule))
    assert {message for message, forms in rules.items() if len(forms) > 1} == set()
