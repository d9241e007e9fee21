"""App capabilities: what the tailnet's policy file says that a caller may do here.

Rules only add, there is no deny, and nothing is allowed that no rule allows.
"""

from __future__ import annotations

from tailseal.domain.capability.claims import Merged
from tailseal.domain.capability.model import (
    EVERYTHING,
    MOST_TOLD,
    Action,
    Capabilities,
    Grant,
    Malformed,
    Requirement,
    Rule,
    audience,
    client,
)
from tailseal.domain.capability.read import read, read_tscap

__all__ = [
    "EVERYTHING",
    "MOST_TOLD",
    "Action",
    "Capabilities",
    "Grant",
    "Malformed",
    "Merged",
    "Requirement",
    "Rule",
    "audience",
    "client",
    "read",
    "read_tscap",
]
