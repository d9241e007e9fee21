"""The same surroundings of an issuer, where what is kept is lost, or comes back from backups of any age."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fakes.issuer_pods import Files
from fakes.issuer_world import OPS, World
from tailseal.domain.rotation import IssuerLedger, OfferedKey

RESTORED = (
    *(op for op in OPS if op not in ("age", "skew", "jump", "down", "crash")),
    "backup", "backup", "ledger", "ledger", "written", "both", "anew", "old_keys", "tick", "tick",
)  # fmt: skip
"""As above, with what is kept brought back from backups of any age, or lost."""


@dataclass(frozen=True)
class Backup:
    """Everything that somebody may bring back later."""

    ledger: IssuerLedger
    files: Files
    keys: dict[str, list[OfferedKey]]


@dataclass
class Restored(World):
    """The world with backups."""

    backups: list[Backup] = field(default_factory=list)

    def _backup(self, _: int) -> None:
        keys = {source: list(found) for source, found in self.keys.items()}
        self.backups.append(Backup(self.ledger, self.files, keys))

    def _old(self, number: int) -> Backup | None:
        return self.backups[number % len(self.backups)] if self.backups else None

    def _ledger(self, number: int) -> None:
        """The ledger comes back from a backup."""
        if old := self._old(number):
            self.ledger = old.ledger
            self._operate()

    def _anew(self, _: int) -> None:
        """The ledger is lost."""
        self.ledger = IssuerLedger(served=True)
        self._operate()

    def _written(self, number: int) -> None:
        """The signing Secret comes back from a backup, and the operator sees it before any worker does."""
        if old := self._old(number):
            self.files = replace(old.files, version=self.files.version + 1)
            self._operate()

    def _both(self, number: int) -> None:
        """Ledger and signing Secret come back, from backups of different ages; a replica that signs can be asked."""
        asked = [pod for pod in self.pods.values() if pod.ready and pod.loaded == self.files and not pod.frozen]
        if (old := self._old(number)) and (other := self._old(number // 2)) and asked:
            asked[0].mute = False
            self.ledger, self.files = old.ledger, replace(other.files, version=self.files.version + 1)
            self._operate()

    def _old_keys(self, number: int) -> None:
        """The SigningKeys' Secrets come back: what they made since is in the signing Secret alone."""
        if old := self._old(number):
            self.keys = {
                source: [replace(key, revoked=key.kid in self.revoked, wanted=key.wanted) for key in found]
                for source, found in old.keys.items()
            }
            for source, found in self.keys.items():
                if not any(key.wanted and not key.revoked for key in found):
                    self._new_key(source)
            self._operate()
