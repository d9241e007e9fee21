"""An issuer's surroundings in true time: pods that lag, freeze, come and go, caches, tokens, and a referee."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fakes.issuer_pods import SOURCES, Files, Pod
from fakes.issuer_referee import LawBroken, Referee
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
ORDERS = (("a",), ("a", "b"), ("b", "a"), ("c", "a"), ("a", "b", "c"), ("b",), ("c",), ("c", "b", "a"))

Op = tuple[str, int]
"""What happens, and a number that says to whom or how much."""

OPS = (
    "tick", "tick", "tick", "tick", "tick", "tick", "rotate", "rotate", "add", "remove", "freeze", "mute", "jump",
    "crash", "down", "ttl", "age", "skew", "order", "revoke", "flash", "lag",
)  # fmt: skip

BROUGHT = (*OPS, "bring", "bring", "bring", "away", "away")
"""As above where keys are brought: a former one may come back, and one in a token is held only once it was proved."""


@dataclass
class World(Referee):
    """Everything, with `time` the true one, which nobody in it knows."""

    plan: Callable[..., IssuerPlan] = plan_issuer
    offset: float = 0.0
    up: bool = True
    crash: int = 0
    lag: float = 5.0
    ttl: int = 600
    age: int = 300
    skew: int = 60
    made: int = 0
    down_since: float = 0.0

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
        offered = [self._as_of_now(key) for keys in self.keys.values() for key in keys]
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

    def _as_of_now(self, key: OfferedKey) -> OfferedKey:
        same = (key.max_age, key.clock_skew) == (self.age, self.skew)
        return key if same else replace(key, max_age=self.age, clock_skew=self.skew)

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
