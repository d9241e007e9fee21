"""`python -m tailseal_dev.tailnet.story`: tell it; exit code 1 if anything was not as expected."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tailseal_dev.cache import BuildError
from tailseal_dev.tailnet import TailnetError, why_not
from tailseal_dev.tailnet.story import stage, world
from tailseal_dev.tailnet.story.chapters import CHAPTERS
from tailseal_dev.tailnet.story.table import Table


def main() -> int:
    """From nothing to the end of it."""
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    table = Table()
    try:
        tell(table)
    except (BuildError, TailnetError) as error:
        print(f"\nthe story ends here: {error}", file=sys.stderr)
        return 1
    table.end()
    return 0 if table.holds else 1


def tell(table: Table) -> None:
    """All of it, in order.

    Raises:
        BuildError: headscale or tailscaled cannot be had.
        TailnetError: something did not come up, or no answer came, after which nothing else makes sense.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tailnet-ca-") as folder, stage.tailnet(Path(folder)) as (net, ca):
        count = f"{len(world.MEMBERS)} nodes"
        table.once(
            "headscale is up; nodes have joined and know each other",
            count,
            lambda: f"{len(net.headscale.nodes())} nodes",
            since=began,
        )
        began = time.monotonic()
        with stage.set_up(net, ca) as on:
            modes = " and ".join(each.mode for each in on.replicas)
            table.once("an identity provider beside nodes", modes, lambda: modes, since=began)
            for chapter in CHAPTERS:
                chapter(table, on)


if __name__ == "__main__":
    sys.exit(main())
