"""Decisions retold to those who own the policies: what failed, what would help, and how much may be shown."""
