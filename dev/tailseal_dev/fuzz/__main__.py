"""`python -m tailseal_dev.fuzz`: a coverage-guided fuzzer (atheris) at each target in turn; fails if it finds anything.

Atheris is no dependency of anything: `make fuzz` installs it for this alone, where there is a wheel of it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_SLOW = 2
"""Seconds for one input of at most `_LONGEST` bytes, hundreds of times what the slowest takes."""
_LONGEST = 8192


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tailseal_dev.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    parser.add_argument("--target", action="append", help="only this; may be repeated")
    parser.add_argument("--corpus", type=Path, help="keeps what was found interesting for the next time")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        _fuzz(options.inside[0], options.inside[1:])
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("there is no atheris for this Python here: `make fuzz` installs it where it can", file=sys.stderr)
        return 3
    from tailseal_dev.fuzz.targets import TARGETS  # noqa: PLC0415 - not instrumented in this process

    with tempfile.TemporaryDirectory(prefix="tailseal-fuzz-") as folder:
        found = [_target(name, options.seconds, options.corpus or Path(folder)) for name in options.target or TARGETS]
    return 0 if all(found) else 1


def _target(name: str, seconds: int, folder: Path) -> bool:
    from tailseal_dev.fuzz.targets import TARGETS, WORDS  # noqa: PLC0415

    corpus, words = folder / name, folder / "words"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name][1]):
        (corpus / f"seed-{number}").write_bytes(seed)
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in WORDS))
    limits = [f"-max_total_time={seconds}", f"-max_len={_LONGEST}", f"-timeout={_SLOW}", "-rss_limit_mb=2048"]
    rest = [f"-dict={words}", "-print_final_stats=1", f"-artifact_prefix={Path.cwd()}/fuzz-{name}-", str(corpus)]
    command = [sys.executable, "-m", "tailseal_dev.fuzz", "--inside", name, *limits, *rest]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", result.stderr))
    covered = re.findall(r"cov: (\d+)", result.stderr)
    runs = int(stats.get("number_of_executed_units", 0))
    good = result.returncode == 0
    print(
        f"{name:<12} {runs:>10,} runs, {covered[-1] if covered else '?':>5} edges  {'ok' if good else 'FOUND'}",
        flush=True,
    )
    if not good:
        print(result.stderr[-6000:], file=sys.stderr)
    return good


def _quoted(word: str) -> str:
    return "".join(char if char.isalnum() else f"\\x{ord(char):02x}" for char in word)


def _fuzz(name: str, arguments: list[str]) -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["tailseal", "jwt"]):
        from tailseal_dev.fuzz.targets import TARGETS  # noqa: PLC0415

    atheris.Setup([name, *arguments], TARGETS[name][0])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
