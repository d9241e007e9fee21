"""The stores are measured on real ones, and only while every first use is told so."""

from __future__ import annotations

from pathlib import Path

from tailseal_dev.bench import stores
from tailseal_dev.postgres import PostgresServer


def test_both_stores_are_measured_beside_raw_sqlite(postgres: PostgresServer) -> None:
    raw, ours, shared = stores.rows(1, Path(), flows=90)
    assert raw.ratio is None
    assert "SQLite, 64 at once" in ours.name
    assert "PostgreSQL, 64 at once" in shared.name
    assert all(row.ratio and "per CPU second" in row.measured for row in (ours, shared))
