"""Removes from an image what the product never loads: the Kubernetes client's generated models, most of its size.

Whatever importing our adapter does not load of them is not needed: it sends and receives plain dicts.
"""  # noqa: INP001 - run by path in the Dockerfile

from __future__ import annotations

import sys
from pathlib import Path

import kubernetes
import tailseal.cluster.kube
import tailseal.wiring  # noqa: F401 - loads what the operator loads

loaded = {Path(file) for module in sys.modules.values() if (file := getattr(module, "__file__", None))}
generated = [path for room in ("models", "api") for path in Path(kubernetes.__file__).parent.glob(f"**/{room}/*.py")]
unused = [path for path in generated if path not in loaded]
for path in unused:
    path.unlink()
print(f"removed {len(unused)} of {len(generated)} generated modules of the Kubernetes client")
