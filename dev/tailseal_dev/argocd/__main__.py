"""`python -m tailseal_dev.argocd [COMMIT] [--cluster current --image NAME:TAG]`: tell the story.

Exit code 1 if any expectation did not hold.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tailseal_dev import process
from tailseal_dev.argocd import server, stage, story
from tailseal_dev.cache import BuildError
from tailseal_dev.controlplane import ControlPlaneError
from tailseal_dev.demo.narrator import Disappointment, Narrator
from tailseal_dev.realnode import images
from tailseal_dev.realnode.images import ImageError
from tailseal_dev.realnode.node import NodeError
from tailseal_dev.realnode.packages import why_not


def main() -> int:
    """Until the end of the story."""
    parser = argparse.ArgumentParser(prog="python -m tailseal_dev.argocd", description=__doc__)
    parser.add_argument("commit", nargs="?", default="HEAD", help="of chart and image")
    parser.add_argument("--cluster", choices=["local", "current"], default="local")
    parser.add_argument("--image", default=images.TAG, help="as the current cluster pulls it")
    arguments = parser.parse_args()
    elsewhere = arguments.cluster == "current"
    if reason := (None if elsewhere else why_not()) or server.why_not():
        print(reason, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all is ended in order
    told, directory = Narrator(), Path(tempfile.mkdtemp(prefix="tailseal-gitops-"))
    try:
        tell(told, directory, arguments.commit, arguments.image if elsewhere else "")
    except (BuildError, ControlPlaneError, ImageError, NodeError, server.ArgoError) as error:
        told.fact("the story comes to its end", str(error), holds=False)
    told.summary()
    if told.kept_its_promises:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        print(f"\nlogs are in {directory}", file=sys.stderr)
    return 0 if told.kept_its_promises else 1


def tell(told: Narrator, directory: Path, revision: str = "HEAD", image: str = "") -> None:
    """Tell the story of a commit and, where it ends early, what the logs say."""
    with stage.set_up(told, directory, revision, image) as scene:
        try:
            story.tell(scene)
        except (Disappointment, ControlPlaneError, subprocess.CalledProcessError) as error:
            told.fact("the story comes to its end", str(error), holds=False)
            scene.show("at the end")
            for name in ("repo-server", "controller"):
                told.say(f"The end of {scene.argo.log(name)}:")
                told.output(process.tail(scene.argo.log(name), 12))
            told.output(scene.kubectl("get", "pods,events", "--all-namespaces", check=False))


if __name__ == "__main__":
    sys.exit(main())
