"""The store of a single process: a file, one thread that writes, many questions in one commit."""

from tailseal.state.sqlite.store import FILE, SQLiteStore

__all__ = ["FILE", "SQLiteStore"]
