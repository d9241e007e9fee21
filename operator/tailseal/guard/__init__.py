"""Guards a service on the tailnet by app capabilities: in Python as ASGI middleware and a decorator, beside any other.

What a caller may do stands in the tailnet's policy file, in the schema of Goa's tscap plugin or in ours.
"""

from __future__ import annotations

from tailseal.guard.decorator import require
from tailseal.guard.middleware import Guard, visitor
from tailseal.guard.requirement import Requirement
from tailseal.guard.sight import Sight, Visitor, behind_serve, direct, serve_headers

__all__ = ["Guard", "Requirement", "Sight", "Visitor", "behind_serve", "direct", "require", "serve_headers", "visitor"]
