"""Removes from an image what the product never loads, which is most of its size.

That are the Kubernetes client's generated models, CEL's extensions, and what only compilers and editors read.

Loads all of the product to find out, so that a base that lacks a library fails here, not in a pod. What that leaves of
the client is not needed: our adapter sends and receives plain dicts. Expressions have no functions but CEL's own.
"""  # noqa: INP001 - run by path in the Dockerfile

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

from cel_expr_python import cel

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

extensions = sorted(Path(cel.__file__).parent.glob("ext/*"))
packages = Path(kubernetes.__file__).parents[1]
sources = [path for suffix in ("c", "h", "pxd", "pyi", "pyx") for path in packages.glob(f"**/*.{suffix}")]
for path in {*extensions, *sources}:
    path.unlink()
cel.NewEnv(variables={}).compile("1 < 2")  # still works without them
print(f"removed {len(extensions)} files of CEL's extensions, {len(sources)} sources and stubs")
