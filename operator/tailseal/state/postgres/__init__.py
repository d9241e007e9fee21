"""The store that all replicas share: every answer is one round trip, and none is waited for longer than two seconds."""

from tailseal.state.postgres.pool import PATIENCE
from tailseal.state.postgres.store import PostgresStore

__all__ = ["PATIENCE", "PostgresStore"]
