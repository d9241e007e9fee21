"""Documentation as its readers follow it: the code blocks of a page, and its commands, run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tailseal_dev import chart, pki
from tailseal_dev.cache import ensure
from tailseal_dev.controlplane import ControlPlane

ROOT = chart.ROOT


def blocks(page: str, heading: str, language: str) -> list[str]:
    """The contents of the code blocks in one section of a page below the root; its title is that of the first one."""
    text = f"\n{(ROOT / page).read_text()}"
    section = next(each for each in re.split(r"\n#+ ", text) if each.startswith(f"{heading}\n"))
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def shown(block: str) -> list[tuple[str, str]]:
    """The commands of a block, each with the output that is shown below it."""
    return re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:[^$].*\n|\n)*)", block, re.MULTILINE)


@dataclass(frozen=True)
class Reader:
    """Somebody who types what is printed, in a folder that looks like a clone, with a certificate at hand.

    Args:
        plane: the cluster that kubectl points at.
        folder: made; where the commands are typed.
        images: what stands in for each name of an image that readers are to replace.
    """

    plane: ControlPlane
    folder: Path
    images: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        for name in ("charts", "crds", "deploy"):
            (self.folder / name).symlink_to(ROOT / name)
        pki.Authority("corp").server(("idp.corp.example",)).write(self.folder, "tls")

    def types(self, command: str, stdin: str = "") -> str:
        """Run a command as a shell does; what it printed."""
        for printed, real in self.images.items():
            command = command.replace(printed, real)
        helm = ensure("helm")
        environment = os.environ | {
            "KUBECONFIG": str(self.plane.kubeconfig),
            "PATH": f"{self.plane.programs}:{helm}:{os.environ['PATH']}",
        }
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        return result.stdout

    def follows(self, block: str) -> list[str]:
        """Type every command of a block; what each printed."""
        return [self.types(command) for command, _ in shown(block)]
