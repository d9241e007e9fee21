"""`python -m tailseal_dev.realnode [ARCHIVE…]`: a real one-node cluster until Ctrl-C, with these images loaded."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tailseal_dev.cache import BuildError
from tailseal_dev.realnode.images import ImageError
from tailseal_dev.realnode.node import NodeError, RealNode


def main() -> int:
    """Run until interrupted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all is ended in order
    directory = Path(tempfile.mkdtemp(prefix="tailseal-node-"))
    started = time.monotonic()
    try:
        with (
            RealNode(directory, [Path(name) for name in sys.argv[1:]]) as node,
            contextlib.suppress(KeyboardInterrupt),  # which may come as soon as it is said
        ):
            print(f"a node is up after {time.monotonic() - started:.1f} s; Ctrl-C ends it. To use it:")
            print(f"  export KUBECONFIG={node.plane.kubeconfig} PATH={node.plane.programs}:$PATH", flush=True)
            signal.pause()
    except (BuildError, ImageError, NodeError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
