"""Writes a volume's files as a kubelet does, so that readers see the old set or the new one, never a mixture.

```
<volume>/..2026_11_21_02_08_31.123456789/signing.json    the files themselves
<volume>/..data -> ..2026_11_21_02_08_31.123456789       replaced by one rename
<volume>/signing.json -> ..data/signing.json             what readers open
```
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tailseal_dev.localnode.volumes import Files

DATA = "..data"


def project(directory: Path, files: Files) -> bool:
    """Make `directory` hold exactly these files; whether anything changed."""
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / DATA
    if data.is_symlink() and _present(data) == {path: file.content for path, file in files.items()}:
        return False
    former = data.resolve() if data.is_symlink() else None
    fresh = _write(directory, files)
    temporary = directory / f"{DATA}_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    temporary.rename(data)
    _link(directory, {Path(path).parts[0] for path in files})
    if former is not None:
        shutil.rmtree(former, ignore_errors=True)
    return True


def _present(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def _write(directory: Path, files: Files) -> Path:
    now = time.time_ns()
    seconds = time.strftime("%Y_%m_%d_%H_%M_%S", time.gmtime(now // 10**9))
    fresh = directory / f"..{seconds}.{now % 10**9:09d}"
    fresh.mkdir()
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
    return fresh


def _link(directory: Path, names: set[str]) -> None:
    present = {path.name for path in directory.iterdir() if not path.name.startswith("..")}
    for name in names - present:
        (directory / name).symlink_to(f"{DATA}/{name}")
    for name in present - names:
        (directory / name).unlink()
