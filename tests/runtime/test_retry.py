"""Each failure has one treatment, and none is told with what it was about."""

from __future__ import annotations

import pytest

from tailseal.cluster import errors
from tailseal.runtime.retry import TREATMENTS, describe, treatment


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (errors.Conflict("x"), "conflict"),
        (errors.Transient("x"), "transient"),
        (errors.Forbidden("x"), "forbidden"),
        (errors.NotFound("x"), "not_found"),
        (errors.Invalid("x"), "invalid"),
        (errors.Gone("x"), "transient"),
        (TimeoutError(), "timeout"),
        (ValueError("x"), "fault"),
        (errors.ClusterError("x"), "fault"),
    ],
)
def test_every_error_has_a_treatment(error: Exception, result: str) -> None:
    assert treatment(error).result == result


def test_every_cluster_error_is_in_the_table() -> None:
    assert set(errors.ClusterError.__subclasses__()) <= set(TREATMENTS)


def test_a_conflict_is_tried_again_before_anything_else_and_what_a_person_must_mend_rarely() -> None:
    assert treatment(errors.Conflict("x")).backoff.first < treatment(errors.Transient("x")).backoff.first
    assert treatment(errors.Forbidden("x")).backoff.cap >= 300


def test_a_server_that_asks_to_wait_is_heeded() -> None:
    error = errors.Transient("x", retry_after=17.0)
    assert treatment(error).backoff.delay(1, 0.0) == 17.0


def test_no_server_can_make_a_revocation_wait_for_a_day() -> None:
    assert treatment(errors.Transient("x", retry_after=86_400.0)).backoff.delay(1, 0.0) == 60.0


def test_a_foreign_errors_text_is_not_logged_as_it_may_quote_a_key() -> None:
    try:
        int("-----BEGIN PRIVATE KEY-----")
    except ValueError as error:
        said = describe(error)
    assert "PRIVATE" not in said
    assert said.startswith("ValueError at test_retry.py:")
    assert describe(errors.Forbidden("GET x: 403")) == "Forbidden: GET x: 403"
