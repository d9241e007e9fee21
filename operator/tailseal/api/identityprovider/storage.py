"""Where an IdentityProvider keeps logins, codes and one-time marks."""

from __future__ import annotations

from typing import ClassVar, Literal

from tailseal.api.base import ApiModel, Rule
from tailseal.api.fields import ObjectName, Quantity, SecretRef


class Volume(ApiModel):
    """A PersistentVolumeClaim to make."""

    size: Quantity
    """How large, such as 1Gi."""
    storage_class_name: ObjectName | None = None
    """StorageClass; left out, the cluster's default."""


class Sqlite(ApiModel):
    """A file for each replica: a restart interrupts its logins for seconds."""

    volume: Volume | None = None
    """Keep the file in a volume; left out, it lives and dies with the pod."""


class Postgres(ApiModel):
    """A shared PostgreSQL: several replicas, no interruption, one-time use."""

    url_secret_ref: SecretRef
    """Secret with the connection URL under `url`."""


class Storage(ApiModel):
    """Where logins, codes and one-time marks are kept."""

    rules: ClassVar = (
        Rule(
            cel="self.type == 'SQLite' ? !has(self.postgres) : (has(self.postgres) && !has(self.sqlite))",
            message="type SQLite goes with sqlite (or nothing), type Postgres with postgres, and not both",
            holds=lambda self: (
                self.postgres is None if self.type == "SQLite" else self.postgres is not None and self.sqlite is None
            ),
            union=("sqlite", "postgres"),
        ),
    )

    type: Literal["SQLite", "Postgres"]
    """SQLite: a file for each replica. Postgres: shared by all."""
    sqlite: Sqlite | None = None
    """For type SQLite."""
    postgres: Postgres | None = None
    """For type Postgres."""
