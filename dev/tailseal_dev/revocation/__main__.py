"""`python -m tailseal_dev.revocation`: withdraw trust again and again under load; fail where it lingers."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tailseal_dev.revocation import places
from tailseal_dev.revocation.load import Load
from tailseal_dev.revocation.places import Change, Place

_PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "folder": places.folder,
    "cluster": places.cluster,
}


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if the 99th percentile keeps the budget everywhere."""
    parser = argparse.ArgumentParser(prog="python -m tailseal_dev.revocation", description=__doc__)
    parser.add_argument("--changes", type=int, default=20, help="of each kind (%(default)s)")
    parser.add_argument("--place", choices=list(_PLACES), action="append", help="only there; may be repeated")
    options = parser.parse_args(arguments)
    print(f"{'where':<24} {'what':<16} {'changes':>7} {'p50':>9} {'p99':>9} {'budget':>9}")
    kept = [_measured(_PLACES[name], options.changes) for name in options.place or _PLACES]
    return 0 if all(kept) else 1


def _measured(start: Callable[[Path], AbstractContextManager[Place]], changes: int) -> bool:
    kept = True
    with tempfile.TemporaryDirectory(prefix="tailseal-revocation-") as folder, start(Path(folder)) as place:
        for change in place.changes:
            with change.load as load:
                load.granted()
                seconds = [_once(load, change) for _ in range(changes)]
            kept &= percentile(seconds, 0.99) < place.budget
            row = f"{place.name:<24} {change.name:<16} {changes:>7}"
            times = (percentile(seconds, 0.5), percentile(seconds, 0.99), place.budget)
            print(row + "".join(f" {value * 1000:>6.0f} ms" for value in times), flush=True)
        loads = {id(change.load): change.load for change in place.changes}.values()
        answers: Counter[str] = sum((seen.answers for load in loads for seen in load.seen), Counter())
        print(f"{place.name:<24} answers: {', '.join(f'{count} {name}' for name, count in answers.most_common())}")
    return kept


def _once(load: Load, change: Change) -> float:
    seconds = load.withdrawn(change.withdraw)
    load.restored(change.restore)
    return seconds


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: of twenty values the 99th is the greatest."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


if __name__ == "__main__":
    sys.exit(main())
