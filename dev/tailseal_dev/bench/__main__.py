"""`python -m tailseal_dev.bench`: measure, print the table, fail where a gate is missed."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tailseal_dev.bench import clock, core, logins, operator, policies, report, server, stores, where, whois
from tailseal_dev.bench.raw import Raw
from tailseal_dev.bench.report import Row
from tailseal_dev.bench.workload import Workload

Extra = Callable[[int, Path], Iterator[Row]]

EXTRA: list[Extra] = [operator.rows, stores.rows, logins.rows, whois.rows]
"""Measurements of other rooms, left out of a quick run: each takes the number of rounds and the command to measure."""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if every gate is kept."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended in order
    rows: list[Row] = []
    began = time.monotonic()
    for row in _rows(options.rounds, options.tailseal, quick=options.quick):
        rows.append(row)
        ratio = "" if row.ratio is None else f", {row.ratio:.3g}"
        print(f"{time.monotonic() - began:5.0f} s  {row.name}: {row.measured}{ratio}", file=sys.stderr)
    how = f"medians of {options.rounds} rounds, {time.monotonic() - began:.0f} s in all"
    text = f"{report.table(rows)}\n\n{report.machine()}; {clock.crowd()}; {how}.\n"
    print(text)
    if options.write and not options.quick:
        more = where.text(options.rounds, options.tailseal)
        print(more)
        _write(options.write, f"{text}\n{more}")
    return 0 if all(row.passed for row in rows) else 1


def _rows(rounds: int, tailseal: Path, *, quick: bool) -> Iterator[Row]:
    workload = Workload(500 if quick else 4000)
    raw = Raw(workload)
    yield Row("raw RSA-2048 verify + P-256 sign (the yardstick)", f"{raw.verify_and_sign() * 1e6:.0f} µs CPU")
    yield core.exchange(workload, raw, rounds)
    yield core.reading(workload, raw, rounds)
    yield from policies.rows(raw, rounds, most=0 if quick else 100_000)
    with tempfile.TemporaryDirectory(prefix="tailseal-bench-") as folder:
        yield from whole(server.rows(workload, raw, Path(folder), rounds, tailseal))
        if not quick:
            yield from whole(server.rs256(workload, raw, Path(folder), rounds, tailseal))
    for extra in [] if quick else EXTRA:
        yield from whole(extra(rounds, tailseal))


def whole(rows: Iterator[Row]) -> Iterator[Row]:
    """What breaks off fails the run, and costs no rows but its own."""
    last = "the first"
    try:
        for row in rows:
            last = f"what follows {row.name!r}"
            yield row
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        told = (str(error).splitlines() or [""])[0]
        yield Row(f"broke off: {last}", f"{type(error).__name__}: {told}", math.nan, ">= 0")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tailseal_dev.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, of which the median counts")
    parser.add_argument(
        "--quick", action="store_true", help="fewer tokens, no 100,000 policies, no RS256, operator or tailnet"
    )
    parser.add_argument(
        "--tailseal",
        type=Path,
        metavar="COMMAND",
        default=server.TAILSEAL,
        help="the command whose workers are measured (%(default)s)",
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        default=Path(__file__).parents[3] / "docs" / "benchmarks.md",
        help="the page between whose markers the table of a full run is put (docs/benchmarks.md)",
    )
    return parser


_BEGIN, _END = "<!-- bench:begin -->\n", "<!-- bench:end -->\n"


def _write(path: Path, text: str) -> None:
    page = path.read_text(encoding="utf-8")
    head, _, rest = page.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    path.write_text(f"{head}{_BEGIN}{text}{_END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
