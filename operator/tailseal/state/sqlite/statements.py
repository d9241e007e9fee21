"""What is said to SQLite about records and families; times are Unix seconds, `:now` that of our own clock."""

# ruff: noqa: S608 - put together of constants; all values are parameters

from __future__ import annotations

from typing import Final

RECORD: Final = "kind, digest, content, expires_at, family, owner"
FAMILY: Final = "id, owner, client, session, content, expires_at"
_STANDS: Final = "NOT ended AND expires_at > :now"
_THERE: Final = """
expires_at > :now AND (family = x'' OR EXISTS (
    SELECT 1 FROM tailseal_family AS its
    WHERE its.id = tailseal_record.family AND NOT its.ended AND its.expires_at > :now
))"""
_ONE: Final = f"kind = :kind AND digest = :digest AND {_THERE}"

INSERT: Final = f"""
INSERT INTO tailseal_record ({RECORD}) VALUES (:kind, :digest, :content, :expires_at, :family, :owner)
ON CONFLICT (kind, digest) DO NOTHING"""
OVERWRITE: Final = """
UPDATE tailseal_record
SET content = :content, expires_at = :expires_at, family = :family, owner = :owner, used_at = NULL
WHERE kind = :kind AND digest = :digest"""
BEGIN: Final = f"""
INSERT INTO tailseal_family ({FAMILY}) VALUES (:id, :owner, :client, :session, :content, :expires_at)
ON CONFLICT (id) DO NOTHING"""
GET: Final = f"SELECT {RECORD} FROM tailseal_record WHERE used_at IS NULL AND {_ONE}"
LOOK: Final = f"SELECT {RECORD} FROM tailseal_record WHERE {_ONE}"
USE: Final = f"UPDATE tailseal_record SET used_at = :now WHERE used_at IS NULL AND {_ONE} RETURNING {RECORD}"
REPLACE: Final = f"""
UPDATE tailseal_record SET content = :content, expires_at = :expires_at, family = :family, owner = :owner
WHERE used_at IS NULL AND content = :former_content AND expires_at = :former_expires_at AND family = :former_family
AND owner = :former_owner AND {_ONE}"""
REMOVE: Final = "DELETE FROM tailseal_record WHERE kind = ? AND digest = ?"
OWNED: Final = f"""
SELECT {RECORD} FROM tailseal_record WHERE owner = :owner AND owner <> '' AND kind = :kind AND used_at IS NULL
AND {_THERE} ORDER BY expires_at DESC LIMIT :limit"""
STANDING: Final = f"SELECT {FAMILY} FROM tailseal_family WHERE id = :id AND {_STANDS}"
FAMILIES: Final = f"""
SELECT {FAMILY} FROM tailseal_family WHERE owner = :owner AND {_STANDS} ORDER BY expires_at DESC LIMIT :limit"""
END: Final = "UPDATE tailseal_family SET ended = 1 WHERE id = ?"
END_SESSION: Final = f"""
UPDATE tailseal_family SET ended = 1 WHERE session = :session AND session <> x'' AND {_STANDS} RETURNING {FAMILY}"""
