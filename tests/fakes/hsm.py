"""A PKCS#11 token of SoftHSM2 with keys in it, for tests of what must never leave one."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tailseal_dev.packages import SOFTHSM

MODULE = SOFTHSM if SOFTHSM.exists() else None
MISSING = MODULE is None or shutil.which("softhsm2-util") is None
REASON = "SoftHSM2 is not installed (Debian package softhsm2): keys in tokens are not tested"

TOKEN, PIN = "corp", "1234-canary-pin"


@dataclass(frozen=True)
class Hsm:
    """A token in a folder of its own."""

    folder: Path

    def put(self, key: Any, label: str) -> str:  # noqa: ANN401 - cryptography's private keys share no base
        """Move a private key into the token; its public key as PEM."""
        file = self.folder / "key.pem"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        number = f"{len(list(self.folder.glob('*.label'))) + 1:02x}"
        (self.folder / f"{number}.label").write_text(label)
        self._util("--import", str(file), "--token", TOKEN, "--label", label, "--id", number, "--pin", PIN)
        file.unlink()
        public: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return public.decode()

    def init(self) -> None:
        """Make the token."""
        self._util("--init-token", "--free", "--label", TOKEN, "--so-pin", "so-" + PIN, "--pin", PIN)

    def _util(self, *arguments: str) -> None:
        subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)


def make(folder: Path) -> Hsm:
    """A token; the process's SoftHSM is told where it is, and its library reads it anew."""
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    hsm = Hsm(folder)
    hsm.init()
    pkcs11.lib(str(MODULE)).reinitialize()  # another test may have loaded it for another folder
    return hsm
