"""`python -m tailseal_dev.krew`: the kubectl plugin's archive and its manifest for krew, as a release publishes them.

The archive is the same bytes whoever makes it from the same files, so that its digest can be checked by everybody.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import struct
import sys
import tarfile
import tomllib
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "deploy" / "krew"
LAUNCHERS = ("kubectl-tailseal", "kubectl_complete-tailseal")
ARCHIVE, MANIFEST = "kubectl-tailseal.tar.gz", "tailseal.yaml"

_ADDRESS = re.compile(r'\{\{addURIAndSha "([^"]+)" \.TagName \}\}')

_BLOCK = 0xFFFF


class ReleaseError(Exception):
    """The files do not belong to one release: says which does not."""


def version() -> str:
    """The product's.

    Raises:
        ReleaseError: a launcher would run another.
    """
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: str = tomllib.load(file)["project"]["version"]
    for name in LAUNCHERS:
        if f" version={found}\n" not in (PLACE / name).read_text():
            raise ReleaseError(f"{PLACE / name}: says another version than pyproject.toml, which says {found}")
    return found


def archive() -> bytes:
    """The launchers and the licence, with neither times nor owners."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, mode in ((ROOT / "LICENSE", 0o644), *((PLACE / name, 0o755) for name in LAUNCHERS)):
            content = path.read_bytes()
            member = tarfile.TarInfo(path.name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return _wrapped(packed.getvalue())


def _wrapped(content: bytes) -> bytes:
    """As gzip (RFC 1952) in stored blocks: every zlib compresses in its own way, and names its system."""
    blocks = [content[start : start + _BLOCK] for start in range(0, len(content), _BLOCK)]
    stored = b"".join(
        struct.pack("<BHH", number == len(blocks), len(block), len(block) ^ 0xFFFF) + block
        for number, block in enumerate(blocks, 1)
    )
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + stored + struct.pack("<II", zlib.crc32(content), len(content))


def manifest(packed: bytes, tag: str, url: str = "") -> str:
    """The manifest with everything filled in that krew-release-bot would.

    Args:
        packed: the archive.
        tag: the release's, e.g. `v0.1.0`.
        url: where the archive will be; empty: where the template says.
    """
    digest = hashlib.sha256(packed).hexdigest()
    template = (PLACE / MANIFEST).read_text()
    text = "".join(line for line in template.splitlines(keepends=True) if not line.startswith("#"))
    text = _ADDRESS.sub(lambda found: f"uri: {url or found[1]}\n    sha256: {digest}", text)
    return text.replace("{{ .TagName }}", tag)


def main() -> int:
    """Write both into a folder; exit code 1 if they do not belong to one release."""
    parser = argparse.ArgumentParser(prog="python -m tailseal_dev.krew", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--url", default="", help="where the archive will be published")
    arguments = parser.parse_args()
    try:
        tag = f"v{version()}"
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    packed = archive()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / ARCHIVE).write_bytes(packed)
    (arguments.out / MANIFEST).write_text(manifest(packed, tag, arguments.url))
    print(f"{arguments.out / ARCHIVE}: {hashlib.sha256(packed).hexdigest()}\n{arguments.out / MANIFEST}: {tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
