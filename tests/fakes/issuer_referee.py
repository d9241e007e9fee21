"""A referee who knows nothing of the planner's reasoning.

He watches what is really served and signed, and calls out the first rotation law that is broken.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fakes.issuer_pods import SOURCES, Files, Pod
from tailseal.domain.rotation import IssuerLedger, OfferedKey


class LawBroken(AssertionError):  # noqa: N818 - what a referee calls out
    """The referee's call."""


@dataclass
class Referee:
    """What there is, with `time` the true one, and what he saw of it."""

    time: float = 1_000_000.0
    order: tuple[str, ...] = ("a", "c")
    ledger: IssuerLedger = field(default_factory=IssuerLedger)
    files: Files = field(default_factory=Files)
    pods: dict[str, Pod] = field(default_factory=dict)
    keys: dict[str, list[OfferedKey]] = field(default_factory=dict)
    cached: dict[frozenset[str], float] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    without: dict[str, float] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    forgiven: set[str] = field(default_factory=set)
    first: frozenset[str] | None = None
    rotations: int = 0
    removals: int = 0

    def _watch(self) -> None:
        for pod in self.pods.values():
            if not pod.ready:
                continue
            left = self.files_age(pod)
            held = self.time + max(left, 30.0) + self.skew_ever
            published = pod.loaded.published
            self.cached[published] = max(self.cached.get(published, 0.0), held)
            for kid in self.known - published:
                self.without[kid] = self.time
            for kid in pod.signs(self.time).values():
                expires = self.time + pod.skew + pod.loaded.ttl
                self.tokens[kid] = max(self.tokens.get(kid, 0.0), expires)
        self._judge()

    def files_age(self, pod: Pod) -> float:
        change, longest = pod.loaded.next_change, float(pod.loaded.max_age)
        if change is None:
            return longest
        return min(longest, max(30.0, change - self.time - pod.skew))

    @property
    def known(self) -> frozenset[str]:
        return frozenset(key.kid for key in self.ledger.keys)

    @property
    def skew_ever(self) -> float:
        """Verifiers' clocks are as good as every key promises."""
        return float(min((key.clock_skew for key in self.ledger.keys), default=0))

    def _judge(self) -> None:
        """Law 3: every live token verifies against every set that an obedient cache may hold."""
        for kids in [kids for kids, until in self.cached.items() if until <= self.time]:
            del self.cached[kids]
        for kid, expires in self.tokens.items():
            if kid in self.revoked or kid in self.forgiven or expires + self.skew_ever <= self.time:
                continue
            for kids in self.cached:
                if kid not in kids:
                    raise LawBroken(f"law 3: a cache holds {sorted(kids)}, a token is signed with {kid}")

    def _check_ledger(self, before: IssuerLedger, after: IssuerLedger) -> None:
        for kid in set(after.active.values()) - set(before.active.values()):
            self.rotations += 1
            key = after.key(kid)
            if key is None:
                raise LawBroken(f"{kid} signs and is not published")
            if key.overlap_broken:
                self._forgive(kid, before)
            else:
                self._law_1(kid, key.max_age, key.clock_skew)
        for key in before.keys:
            later = after.key(key.kid)
            if later is None:
                self._law_2(key.kid, key.max_age, key.clock_skew)
                self.removals += 1
            else:
                self._law_4(key.kid, key, later)
        gone = self.revoked & {key.kid for keys in self.keys.values() for key in keys if key.revoked}
        present = {key.kid for key in after.keys} | set(after.active.values())
        if gone & present:
            raise LawBroken(f"law 6: {sorted(gone & present)} is revoked and still there")
        at_hand = {key.kid for keys in self.keys.values() for key in keys} | dict(self.files.held).keys()
        if at_hand & set(before.active.values()) and not after.active and not self.revoked:
            raise LawBroken("law 5: nothing signs any more")

    def _forgive(self, kid: str, before: IssuerLedger) -> None:
        """Law 6 breaks law 3 on purpose, but only where the revoked signer leaves nothing else."""
        if not self.revoked:
            raise LawBroken(f"{kid} signs early without need")
        self.forgiven.add(kid)

    def _law_1(self, kid: str, max_age: int, skew: int) -> None:
        counted = [pod for pod in self.pods.values() if pod.ever_ready]
        if not counted:
            raise LawBroken(f"law 1: {kid} signs and no replica was ever seen")
        for pod in counted:
            if kid not in pod.loaded.published or kid not in dict(pod.loaded.held):
                raise LawBroken(f"law 1: {kid} signs and {pod.uid} does not serve and hold it")
            if kid not in pod.proven:
                raise LawBroken(f"law 1: {kid} signs and {pod.uid} never proved that it can sign with it")
        if self.first is not None and kid in self.first:
            return
        if kid in self.without and self.time < self.without[kid] + max(min(max_age, self.age_floor), 30) + skew:
            raise LawBroken(f"law 1: {kid} signs {self.time - self.without[kid]} s after a set without it")

    @property
    def age_floor(self) -> int:
        return min(key.set_age for key in self.ledger.keys) if self.ledger.keys else 0

    def _law_2(self, kid: str, max_age: int, skew: int) -> None:
        if kid in self.revoked:
            return
        for pod in self.pods.values():
            if kid in pod.signs(self.time).values():
                raise LawBroken(f"law 2: {kid} is removed and {pod.uid} signs with it")
        if kid in self.tokens and self.time < self.tokens[kid] + skew:
            raise LawBroken(f"law 2: {kid} is removed and a token of it is alive")

    def _law_4(self, kid: str, before: object, after: object) -> None:
        for name in ("max_age", "set_age", "clock_skew", "longest_ttl", "sign_until", "last_without"):
            if getattr(after, name) < getattr(before, name):
                raise LawBroken(f"law 4: {name} of {kid} was shortened")

    def _final(self) -> None:
        """In peace the wanted keys sign, and what they replaced is gone or on its lease."""
        wanted = {key.kid for source in self.order for key in self.keys[source] if key.wanted}
        if not set(self.ledger.active.values()) <= wanted:
            raise LawBroken(f"stuck: {dict(self.ledger.active)} signs, {sorted(wanted)} should")
        for pod in self.pods.values():
            if self.ledger.default_algorithm not in pod.signs(self.time):
                raise LawBroken(f"law 5: {pod.uid} does not sign, or its lease is over")
        if self.ledger.default_algorithm != SOURCES[self.order[0]]:
            raise LawBroken("stuck: the default algorithm is not the first key's")
