"""Drops from PostgreSQL what nobody can ask for any more: one replica at a time, a bounded number at a time."""

# ruff: noqa: S608 - put together of constants; all values are parameters

from __future__ import annotations

from typing import Final

from tailseal.state.grants import Kind
from tailseal.state.limits import FAMILY, MARK, USED
from tailseal.state.postgres import once

_NOW: Final = "date_part('epoch', now())"
_LOCK: Final = 0x7A11_5EA2
"""Advisory lock of who sweeps: two at once could wait for each other."""

_ALONE: Final = f"WITH alone AS MATERIALIZED (SELECT pg_try_advisory_xact_lock({_LOCK}) AS we_are)"

_EXPIRED: Final = f"""
{_ALONE}, gone AS (
    DELETE FROM tailseal_record WHERE (kind, digest) IN (
        SELECT kind, digest FROM tailseal_record WHERE expires_at <= {_NOW} AND (SELECT we_are FROM alone)
        LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING kind, family, used_at
), unredeemed AS (
    UPDATE tailseal_family SET ended = true WHERE NOT ended AND id IN (
        SELECT family FROM gone WHERE kind = '{Kind.CODE}' AND used_at IS NULL AND family <> ''
    )
)
SELECT count(*) FROM gone
"""
"""A family whose code nobody redeemed ends with that: nothing was ever issued from it."""

_FALLEN: Final = f"""
{_ALONE}, fallen AS MATERIALIZED (
    SELECT id FROM tailseal_family WHERE (ended OR expires_at <= {_NOW}) AND (SELECT we_are FROM alone)
    LIMIT $1 FOR UPDATE SKIP LOCKED
), members AS MATERIALIZED (
    SELECT theirs.kind, theirs.digest FROM fallen, LATERAL (
        SELECT kind, digest FROM tailseal_record WHERE family = fallen.id AND family <> ''
    ) AS theirs LIMIT $1
), emptied AS (
    DELETE FROM tailseal_record WHERE (kind, digest) IN (SELECT kind, digest FROM members)
), gone AS (
    DELETE FROM tailseal_family WHERE id IN (SELECT id FROM fallen) AND (SELECT count(*) FROM members) < $1
)
SELECT greatest((SELECT count(*) FROM members), (SELECT count(*) FROM fallen))
"""
"""Families go when all of their records are seen to go with them: one login may hold any number of opaque tokens."""

OLDEST: Final = f"""
{_ALONE}, gone AS (
    DELETE FROM tailseal_record WHERE (kind, digest) IN (
        SELECT oldest.kind, oldest.digest FROM unnest($1::bytea[]) AS crowded (family), LATERAL (
            SELECT kind, digest FROM tailseal_record
            WHERE family = crowded.family AND family <> '' AND used_at IS NOT NULL
            ORDER BY used_at DESC OFFSET {USED}
        ) AS oldest WHERE (SELECT we_are FROM alone)
    )
)
SELECT we_are FROM alone
"""
"""Drops the used records of some families beyond those that they keep; false: another replica sweeps."""

DROPS: Final = ((once.SWEEP, 1000), (_EXPIRED, 1000), (_FALLEN, 1000))
"""Statements, and how many of a table each drops at most: it answers as many where there may be more."""

COUNT: Final = f"""
SELECT '{MARK}' AS name, (SELECT count(*) FROM (SELECT FROM tailseal_once LIMIT $1) AS counted) AS held
UNION ALL SELECT '{FAMILY}', (SELECT count(*) FROM tailseal_family)
UNION ALL SELECT kind, count(*) FROM tailseal_record GROUP BY kind
"""
"""How much of everything there is; of marks not more than asked for."""
