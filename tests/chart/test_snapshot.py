"""The chart with everything switched: rendered as it was reviewed, watched by names that the product really exposes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from tailseal.runtime.metrics import OperatorMetrics
from tailseal.workers.common.telemetry.metrics import Metrics
from tailseal_dev import chart

pytestmark = [pytest.mark.helm, pytest.mark.usefixtures("helm")]

HERE = Path(__file__).parent
VALUES = f"--values={HERE / 'everything.yaml'}"
GOLDEN = HERE / "golden" / "everything.yaml"
DASHBOARD = chart.CHART / "files" / "dashboards" / "tailseal.json"
ALERTS = chart.CHART / "files" / "alerts.yaml"


def test_everything_is_rendered_as_it_was_reviewed() -> None:
    of_a_version = r"(helm.sh/chart: tailseal-|app.kubernetes.io/version: |tailseal.dev/rights: ).*"
    rendered = re.sub(of_a_version, r"\1…", chart.render(VALUES))
    if os.environ.get("TAILSEAL_GOLDEN"):
        GOLDEN.write_text(rendered)
    assert rendered == GOLDEN.read_text(), "run it with TAILSEAL_GOLDEN=1 and review the difference"


def test_every_value_is_in_the_schema() -> None:
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    schema = json.loads((chart.CHART / "values.schema.json").read_text())
    assert _paths(values) <= _declared(schema)
    assert set(values) == set(schema["properties"]) - {"global"}


def test_every_value_or_what_it_is_part_of_has_a_comment() -> None:
    text = (chart.CHART / "values.yaml").read_text()
    assert list(_silent(yaml.compose(text), text.splitlines())) == []
    mute = "a:\n  # said\n  b: 1\n  c: {d: 2}\n# said\ne:\n  f: 3\n  g:\n    h: 4\n"
    assert list(_silent(yaml.compose(mute), mute.splitlines())) == ["a.c", "e.g.h"]


def _silent(node: yaml.Node | None, lines: Sequence[str], path: str = "", *, told: bool = False) -> Iterator[str]:
    """Values with no comment above them nor above the mapping that they stand in."""
    assert isinstance(node, yaml.MappingNode)
    for key, value in node.value:
        line = key.start_mark.line
        said = line > 0 and lines[line - 1].lstrip().startswith("#")
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _silent(value, lines, f"{path}{key.value}.", told=said)
        elif not (said or told):
            yield f"{path}{key.value}"


def _paths(values: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in values.items():
        found.add(f"{prefix}{name}")
        if isinstance(value, dict) and name not in ("resources", "labels"):
            found |= _paths(value, f"{prefix}{name}.")
    return found


def _declared(schema: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, inner in schema.get("properties", {}).items():
        found |= {f"{prefix}{name}", *_declared(inner, f"{prefix}{name}.")}
    return found


def _expressions() -> list[str]:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    targets = [target for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    return [entry["expr"] for entry in (*rules, *targets)]


@pytest.mark.parametrize("expression", _expressions())
def test_alerts_and_panels_ask_for_series_that_are_there(expression: str) -> None:
    exposed = OperatorMetrics().expose() + generate_latest(Metrics().registry)
    families = dict(re.findall(r"# TYPE (\w+) (\w+)", exposed.decode()))
    series = {name for name, kind in families.items() if kind != "histogram"}
    series |= {f"{name}_bucket" for name, kind in families.items() if kind == "histogram"}
    asked = set(re.findall(r"\btailseal_\w+", expression))
    assert asked
    assert asked <= series


def test_alerts_and_panels_ask_by_labels_that_are_there() -> None:
    known = {"provider", "result", "reason", "upstream", "algorithm", "controller", "method", "le"}
    target = {"namespace", "pod"}
    """Labels that Prometheus itself adds."""
    for expression in _expressions():
        grouped = {name for found in re.findall(r"by \(([^)]*)\)", expression) for name in re.split(r",\s*", found)}
        matched = set(re.findall(r"[{,]\s*(\w+)(?:!=|=~|=)", expression))
        assert grouped | matched <= known | target


def test_an_alert_says_what_it_means_and_what_to_do() -> None:
    for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]:
        assert rule["for"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description"} == set(rule["annotations"])
