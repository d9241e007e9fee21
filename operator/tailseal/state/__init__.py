"""What replicas must agree on, kept outside of any one process: one interface, PostgreSQL and SQLite behind it."""
