"""Removes from an image what the product never loads: the Kubernetes client's generated models, most of its size.

Loads all of the product to find out, so that a base that lacks a library fails here, not in a pod. What that leaves of
the client is not needed: our adapter sends and receives plain dicts.
"""  # noqa: INP001 - run by path in the Dockerfile

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import kubernetes
import tailseal

for module in pkgutil.walk_packages(tailseal.__path__, "tailseal."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

loaded = {Path(file) for module in sys.modules.values() if (file := getattr(module, "__file__", None))}
generated = [path for room in ("models", "api") for path in Path(kubernetes.__file__).parent.glob(f"**/{room}/*.py")]
unused = [path for path in generated if path not in loaded]
for path in unused:
    path.unlink()
print(f"removed {len(unused)} of {len(generated)} generated modules of the Kubernetes client")
