"""Reasons are API: spelled as Kubernetes spells them, each documented."""

from __future__ import annotations

import ast
import inspect
from enum import StrEnum

import pytest

from tailseal.api.conditions import Condition, ConditionType
from tailseal.api.reasons import Reason


@pytest.mark.parametrize("words", [Reason, ConditionType])
def test_every_word_is_documented(words: type[StrEnum]) -> None:
    body = ast.parse(inspect.getsource(words)).body[0].body[1:]
    kinds = [type(statement) for statement in body]
    assert kinds == [ast.Assign, ast.Expr] * len(words)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_fits_a_condition(reason: Reason) -> None:
    assert Condition(type="Ready", status="False", reason=reason).reason == reason
    assert reason.replace("_", "").lower() == reason.name.replace("_", "").lower()
