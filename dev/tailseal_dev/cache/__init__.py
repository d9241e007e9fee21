"""Compiled helpers (control plane, helm), built once from Go modules into the user's cache directory."""

from __future__ import annotations

from tailseal_dev.cache.build import BuildError, ensure

__all__ = ["BuildError", "ensure"]
