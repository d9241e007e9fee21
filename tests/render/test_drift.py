"""Drift: what counts as a difference, what must be replaced, and what the API server adds by itself."""

from __future__ import annotations

from typing import Any

import pytest

from render.present import PROVIDER, WANTED, defaulted
from tailseal.domain.render import additions, bundle, drift
from tailseal.domain.render.service import service


def test_what_the_api_server_adds_is_no_difference() -> None:
    assert not drift.differs(WANTED, defaulted())
    assert additions.foreign(WANTED, defaulted()) is None
    assert not drift.must_be_replaced(WANTED, defaulted())


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1000m", "1", True),
        ("0.5", "500m", True),
        ("1Gi", "1024Mi", True),
        ("1e3", "1k", True),
        ("0.0005", "1m", True),
        ("1.00005Mi", "1048628429m", True),
        ("1e33", "1e33", True),
        (f"{'9' * 31}k", "1", False),
        ("128Mi", "128M", False),
        ("1", "2", False),
        ("x", "1", False),
        ("x", "y", False),
        ("1", None, False),
    ],
)
def test_amounts_are_compared_as_numbers(left: str, right: str | None, same: bool) -> None:  # noqa: FBT001
    present = {} if right is None else {"cpu": right}
    assert drift.differs({"resources": {"limits": {"cpu": left}}}, {"resources": {"limits": present}}) is not same


@pytest.mark.parametrize(
    ("wanted", "present", "differs"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 2}, True),
        ({"a": {"b": 1}}, {"a": None}, True),
        ({"a": {}}, {}, False),
        ({"a": []}, {}, False),
        ({"a": [1]}, {}, True),
        ({"a": [1, 2]}, {"a": [1, 2]}, False),
        ({"a": [1]}, {"a": [1, 2]}, True),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B"}, {"name": "A", "value": "1"}]}, False),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]}, True),
        ({"env": [{"name": "A"}]}, {"env": []}, True),
        ({"a": True}, {"a": 1}, False),
    ],
)
def test_only_what_is_wanted_is_compared(wanted: Any, present: Any, differs: bool) -> None:  # noqa: ANN401, FBT001
    assert drift.differs(wanted, present) is differs


def test_a_variable_that_is_empty_is_one_without_a_value() -> None:
    wanted = {"env": [{"name": "TS_KUBE_SECRET", "value": ""}]}
    assert not drift.differs(wanted, {"env": [{"name": "TS_KUBE_SECRET"}]})
    assert drift.differs(wanted, {"env": [{"name": "TS_KUBE_SECRET", "value": "theirs"}]})
    assert drift.differs({"data": {"empty": ""}}, {"data": {}}), "an empty file is a file"


def test_a_file_without_data_is_a_difference_and_nothing_foreign() -> None:
    wanted = bundle.shard(PROVIDER, 3, b"x")
    present = {name: value for name, value in wanted.items() if name != "binaryData"}
    assert drift.differs(wanted, present)
    assert additions.foreign(wanted, present) is None


def test_what_cannot_be_changed_is_replaced() -> None:
    stiff = bundle.shard(PROVIDER, 3, b"x") | {"immutable": True}
    assert drift.must_be_replaced(bundle.shard(PROVIDER, 3, b"y"), stiff)
    assert not drift.must_be_replaced(bundle.shard(PROVIDER, 3, b"x"), stiff), "nothing in it has to change"
    other = bundle.tls(PROVIDER, {}) | {"type": "kubernetes.io/tls"}
    assert drift.must_be_replaced(bundle.tls(PROVIDER, {}), other)
    selecting = defaulted()
    selecting["spec"]["selector"] = {"matchLabels": {"app": "x"}}
    assert drift.must_be_replaced(WANTED, selecting)
    assert not drift.must_be_replaced(service(PROVIDER, "sts", tls=False), service(PROVIDER, "sts", tls=True))
