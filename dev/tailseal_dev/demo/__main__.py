"""`python -m tailseal_dev.demo`: tell the story; exit code 1 if any expectation did not hold."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click

from tailseal_dev import process
from tailseal_dev.cache import BuildError
from tailseal_dev.controlplane import ControlPlaneError
from tailseal_dev.demo import stage, story
from tailseal_dev.demo.narrator import Disappointment, Narrator


@click.command()
@click.option("--cluster", type=click.Choice(["local", "current"]), default="local", show_default=True)
@click.option("--image", default="tailseal:dev", show_default=True, help="Workers' image, with --cluster current.")
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C.")
def main(cluster: str, image: str, *, keep: bool) -> None:
    """From nothing to a rotated key and withdrawn trust."""
    told = Narrator()
    directory = Path(tempfile.mkdtemp(prefix="tailseal-demo-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended in order
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if a script started us in the background
    setting = stage.local(told, directory) if cluster == "local" else stage.current(told, directory, image)
    try:
        with setting as scene:
            _tell(scene, keep=keep)
    except (BuildError, ControlPlaneError, Disappointment) as error:
        told.fact("the story comes to its end", str(error), holds=False)
        told.summary()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        _clear(told, directory)
    sys.exit(0 if told.kept_its_promises else 1)


def _tell(scene: stage.Stage, *, keep: bool) -> None:
    try:
        story.tell(scene)
    except Disappointment:
        for log in stage.logs(scene.cluster.directory):
            scene.cluster.told.say(f"The end of {log}:")
            scene.cluster.told.output(process.tail(log, 15))
        if not scene.cluster.is_local:  # all of it is about to be deleted
            for question in (("get", "pods"), ("logs", "--selector=tailseal.dev/identity-provider=corp", "--tail=5")):
                with contextlib.suppress(Disappointment):
                    scene.cluster.kubectl(*question, stage.SPACE)
        raise
    told = scene.cluster.told
    told.summary()
    if keep:
        with contextlib.suppress(KeyboardInterrupt):  # which may come as soon as it is said
            told.say(f"Everything is left running, its files are in {scene.cluster.directory}; Ctrl-C ends it.")
            signal.pause()


def _clear(told: Narrator, directory: Path) -> None:
    if told.kept_its_promises:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        print(f"\nlogs are in {directory}", file=sys.stderr)


if __name__ == "__main__":
    main()
