"""What Flux makes of an object: its own library, compiled."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from tailseal_dev.cache import ensure


def kstatus(*objects: Mapping[str, Any]) -> list[str]:
    """`InProgress`, `Current`, `Failed` or `Terminating` for each, as it is stored.

    Raises:
        BuildError: there is no such library here and it cannot be built.
    """
    program = str(ensure("kstatus") / "kstatus")
    answer = subprocess.run([program], input=json.dumps(objects), capture_output=True, text=True, check=True)
    said: list[str] = json.loads(answer.stdout)
    return said
