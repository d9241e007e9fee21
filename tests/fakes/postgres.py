"""A real PostgreSQL of the system's packages, on a loopback port, with nothing in it."""

from tailseal_dev.postgres import PASSWORD, PostgresServer, programs

__all__ = ["PASSWORD", "PostgresServer", "programs"]
