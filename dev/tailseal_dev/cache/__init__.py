"""Programs that tests and tools run (control plane, helm, a tailnet, …), built once into the user's cache directory."""

from __future__ import annotations

from tailseal_dev.cache.build import BuildError, ensure

__all__ = ["BuildError", "ensure"]
