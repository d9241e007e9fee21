"""An issuer's surroundings in true time: pods that lag, freeze, come and go, caches, tokens, and a referee.

The referee knows nothing of the planner's reasoning. It watches what is really served and signed, and calls out the
first rotation law that is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tailseal.domain.bundle.model import HeldKey, Signing
from tailseal.domain.evidence import Replica, Report
from tailseal.domain.rotation import IssuerLedger, IssuerPlan, IssuerSpec, OfferedKey, plan_issuer, remembered
from tailseal.domain.rotation.issuer.recover import recovered

LEASE = 4 * 3_600
MAX_LAG = 90.0
STEPS = (1.0, 7.0, 20.0, 45.0, 120.0, 400.0, 3_000.0)
TTLS = (60, 600, 3_600)
AGES = (0, 60, 300, 900)
SKEWS = (0, 30, 60)
OFFSETS = (0.0, 3_600.0, -3_600.0, 200.0, -200.0)
SOURCES = {"a": "ES256", "b": "ES256", "c": "RS256"}
ORDERS = (("a",), ("a", "b"), ("b", "a"), ("c", "a"), ("a", "b", "c"), ("b",), ("c",), ("c", "b", "a"))

Op = tuple[str, int]
"""What happens, and a number that says to whom or how much."""

OPS = (
    "tick", "tick", "tick", "tick", "tick", "tick", "rotate", "rotate", "add", "remove", "freeze", "mute", "jump",
    "crash", "down", "ttl", "age", "skew", "order", "revoke", "flash", "lag",
)  # fmt: skip

BROUGHT = (*OPS, "bring", "bring", "bring", "away", "away")
"""As above where keys are brought: a former one may come back, and one in a token is held only once it was proved."""


class LawBroken(AssertionError):  # noqa: N818 - what a referee calls out
    """The referee's call."""


@dataclass(frozen=True)
class Files:
    """The signing Secret."""

    version: int = 0
    published: frozenset[str] = frozenset()
    held: tuple[tuple[str, float], ...] = ()
    active: tuple[tuple[str, str], ...] = ()
    default: str = ""
    max_age: int = 0
    next_change: float | None = None
    ttl: int = 0
    revision: int = 0

    def signing(self) -> Signing | None:
        """As the operator reads it back."""
        if not self.version:
            return None
        return Signing(
            issuer="",
            held=tuple(HeldKey(kid=kid, alg=_alg(kid), file="", sign_until=until) for kid, until in self.held),
            active=dict(self.active),
            default_algorithm=self.default,
            jwks={"keys": [{"kid": kid, "alg": _alg(kid)} for kid in sorted(self.published)]},
            max_age=self.max_age,
            next_change=self.next_change,
            max_token_ttl=self.ttl,
            status_key="",
            revision=self.revision,
        )


def _alg(kid: str) -> str:
    return SOURCES[kid[0]]


@dataclass
class Pod:
    """A worker: what it loaded, and when it will load what is written by now."""

    uid: str
    loaded: Files
    skew: float
    lag: float
    due: float | None = None
    ready: bool = False
    ready_at: float = 0.0
    ever_ready: bool = False
    frozen: bool = False
    mute: bool = False
    away: bool = False
    proven: set[str] = field(default_factory=set)
    report: Report | None = None

    def signs(self, now: float) -> dict[str, str]:
        until = dict(self.loaded.held)
        return {alg: kid for alg, kid in self.loaded.active if now + self.skew < until.get(kid, 0.0)}


@dataclass
class World:
    """Everything, with `time` the true one, which nobody in it knows."""

    plan: Callable[..., IssuerPlan] = plan_issuer
    time: float = 1_000_000.0
    offset: float = 0.0
    up: bool = True
    crash: int = 0
    lag: float = 5.0
    order: tuple[str, ...] = ("a", "c")
    ttl: int = 600
    age: int = 300
    skew: int = 60
    ledger: IssuerLedger = field(default_factory=IssuerLedger)
    files: Files = field(default_factory=Files)
    pods: dict[str, Pod] = field(default_factory=dict)
    keys: dict[str, list[OfferedKey]] = field(default_factory=dict)
    made: int = 0
    down_since: float = 0.0
    # what the referee saw
    cached: dict[frozenset[str], float] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    without: dict[str, float] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    forgiven: set[str] = field(default_factory=set)
    first: frozenset[str] | None = None
    rotations: int = 0
    removals: int = 0

    def __post_init__(self) -> None:
        for source in SOURCES:
            self.keys[source] = []
            self._new_key(source)
        for _ in range(2):
            self._add(lag=1.0)

    # what may happen

    def run(self, ops: Sequence[Op]) -> None:
        self.run_without_peace(ops)
        self.settle()

    def run_without_peace(self, ops: Sequence[Op]) -> None:
        for name, number in ops:
            getattr(self, "_" + name)(number)

    def settle(self) -> None:
        """Peace at last: everybody answers, clocks are right, no wish changes. All must come to its end."""
        self.offset, self.up, self.crash = 0.0, True, 0
        for pod in self.pods.values():
            pod.frozen = pod.mute = pod.away = False
        if not self.pods:
            self._add(lag=1.0)
        for step in (5, 4, 2, 5, 5, 6, 6, 6, 6, 6, 4):
            self._tick(step)
        self._final()

    def _tick(self, number: int) -> None:
        left = STEPS[number % len(STEPS)]
        while left > 0:
            step = min(left, 30.0 if left < 500 else 100.0)
            left -= step
            self._pass(step)
            self._operate()

    def _rotate(self, number: int) -> None:
        source = sorted(SOURCES)[number % len(SOURCES)]
        self.keys[source] = [replace(key, wanted=False, superseded=True) for key in self.keys[source]]
        self._new_key(source)

    def _add(self, number: int = 0, lag: float | None = None) -> Pod:
        self.made += 1
        lag = self.lag if lag is None else lag
        pod = Pod(f"pod-{self.made}", self.files, skew=(number % 5 - 2) * 1.0, lag=lag, ready_at=self.time + 3.0)
        self.pods[pod.uid] = pod
        return pod

    def _remove(self, number: int) -> None:
        if self.pods:
            del self.pods[sorted(self.pods)[number % len(self.pods)]]

    def _flash(self, number: int) -> None:
        """A pod that lives shorter than a poll."""
        pod = self._add(number)
        self._pass(4.0)
        self.pods.pop(pod.uid)

    def _freeze(self, number: int) -> None:
        pod = self._pod(number)
        if pod:
            pod.frozen = not pod.frozen

    def _mute(self, number: int) -> None:
        pod = self._pod(number)
        if pod:
            pod.mute = not pod.mute

    def _bring(self, number: int) -> None:
        """A former key of the SigningKey in place of its present one; or a new one, if there is none."""
        source = sorted(SOURCES)[number % len(SOURCES)]
        former = [key for key in self.keys[source] if not key.revoked and not key.wanted]
        if not former:
            self._rotate(number)
            return
        back = former[number % len(former)].kid
        self.keys[source] = [
            replace(key, wanted=key.kid == back, superseded=key.kid != back, sign_now=False)
            for key in self.keys[source]
        ]

    def _away(self, number: int) -> None:
        """The token of a pod's keys is out of its reach, or is there again."""
        pod = self._pod(number)
        if pod:
            pod.away = not pod.away

    def _jump(self, number: int) -> None:
        self.offset = OFFSETS[number % len(OFFSETS)]

    def _crash(self, number: int) -> None:
        self.crash = 1 + number % 2

    def _down(self, _: int) -> None:
        self.up = not self.up
        self.down_since = self.time

    def _ttl(self, number: int) -> None:
        self.ttl = TTLS[number % len(TTLS)]

    def _age(self, number: int) -> None:
        self.age = AGES[number % len(AGES)]

    def _skew(self, number: int) -> None:
        self.skew = SKEWS[number % len(SKEWS)]

    def _order(self, number: int) -> None:
        self.order = ORDERS[number % len(ORDERS)]

    def _lag(self, number: int) -> None:
        self.lag = (0.5, 5.0, 30.0, MAX_LAG)[number % 4]

    def _revoke(self, number: int) -> None:
        source = sorted(SOURCES)[number % len(SOURCES)]
        victim = self.keys[source][-1].kid
        self.revoked.add(victim)
        self.keys[source] = [
            replace(key, wanted=False, superseded=True, revoked=key.revoked or key.kid == victim)
            for key in self.keys[source]
        ]
        self._new_key(source, sign_now=number % 2 == 0)

    # how it happens

    def _pod(self, number: int) -> Pod | None:
        return self.pods[sorted(self.pods)[number % len(self.pods)]] if self.pods else None

    def _new_key(self, source: str, *, sign_now: bool = False) -> None:
        self.made += 1
        kid = f"{source}{self.made}"
        self.keys[source].append(
            OfferedKey(
                kid=kid,
                alg=SOURCES[source],
                public_jwk={"kid": kid, "alg": SOURCES[source]},
                source=source,
                created_at=float(self.made),
                wanted=True,
                revoked=False,
                max_age=self.age,
                clock_skew=self.skew,
                sign_now=sign_now,
            )
        )

    def _pass(self, seconds: float) -> None:
        """Time goes by: sets are fetched and tokens signed at every instant; then pods load what is due."""
        self._watch()
        self.time += seconds
        self._watch()
        for pod in self.pods.values():
            if not pod.ready and self.time >= pod.ready_at and pod.loaded.version:
                pod.ready = pod.ever_ready = True
            self._load(pod)
        self._watch()

    def _load(self, pod: Pod) -> None:
        if pod.frozen or pod.loaded.version == self.files.version:
            return
        if pod.due is None:
            pod.due = self.time + pod.lag
        if self.time >= pod.due or not pod.loaded.version:
            pod.loaded, pod.due = self.files, None

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

    def _prove(self) -> None:
        for pod in self.pods.values():
            if not pod.away:
                pod.proven |= dict(pod.loaded.held).keys()

    def _operate(self) -> None:
        self._prove()
        if not self.up:
            return
        now = self.time + self.offset
        for pod in self.pods.values():
            if not (pod.frozen or pod.mute) and abs(self.offset - pod.skew) <= 300 and pod.loaded.version:
                pod.report = Report(
                    sent_at=now - 0.01,
                    heard_at=now,
                    clock=self.time + pod.skew,
                    digests={},
                    served=pod.loaded.published,
                    held=frozenset() if pod.away else frozenset(dict(pod.loaded.held)),
                    signing=pod.signs(self.time),
                    revision=pod.loaded.revision,
                )
        crash, self.crash = self.crash, 0
        offered = [replace(key, max_age=self.age, clock_skew=self.skew) for keys in self.keys.values() for key in keys]
        spec = IssuerSpec(order=self.order, longest_ttl=self.ttl, clock_skew=self.skew, lease=LEASE)
        before = recovered(self.ledger, self.files.signing(), offered, spec, self._replicas(), now)
        offered = list(remembered(before, offered, dict(self.files.held)))
        plan = self.plan(spec, before, offered, self._replicas(), now)
        again = self.plan(spec, plan.ledger, offered, self._replicas(), now)
        if again.ledger != plan.ledger:
            raise LawBroken("planning twice changes the ledger")
        if crash == 1:
            return
        self._check_ledger(before, plan.ledger)
        self.ledger = IssuerLedger.from_json(plan.ledger.to_json())
        if crash == 2:
            return
        self._write(plan)
        self._watch()

    def _replicas(self) -> list[Replica]:
        return [
            Replica(pod.uid, pod.uid, "sts", pod.ever_ready, pod.ready, terminating=False, report=pod.report)
            for pod in self.pods.values()
        ]

    def _write(self, plan: IssuerPlan) -> None:
        files = Files(
            version=self.files.version,
            published=frozenset(jwk["kid"] for jwk in plan.published),
            held=tuple((key.kid, key.sign_until) for key in plan.held),
            active=tuple(sorted(plan.active.items())),
            default=plan.default_algorithm,
            revision=plan.ledger.revision,
            max_age=plan.max_age,
            next_change=plan.next_change,
            ttl=plan.max_token_ttl,
        )
        if files != self.files:
            self.files = replace(files, version=self.files.version + 1)
        if self.first is None and files.published:
            self.first = files.published

    # the referee

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
