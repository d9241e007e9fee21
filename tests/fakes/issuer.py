"""An issuer's planner beside pods that follow at once: steps one by one, in a time that is counted out."""

from __future__ import annotations

from dataclasses import replace

from tailseal.domain.evidence import Replica, Report
from tailseal.domain.rotation import IssuerLedger, IssuerPlan, IssuerSpec, OfferedKey, plan_issuer

START = 1_000_000_000.0
WAIT = 360
LEASE = 14 * 86_400


def key(kid: str, source: str = "corp", alg: str = "ES256", **changes: object) -> OfferedKey:
    offer = OfferedKey(kid, alg, {"kid": kid}, source, START, wanted=True, revoked=False, max_age=300, clock_skew=60)
    return replace(offer, **changes)  # type: ignore[arg-type]


def spare(kid: str, source: str = "corp", alg: str = "ES256") -> OfferedKey:
    return key(kid, source, alg, wanted=False)


class Issuer:
    """Plans as time passes; its pods follow at once unless told otherwise."""

    def __init__(self, *offered: OfferedKey, order: tuple[str, ...] = ("corp",), pods: int = 2) -> None:
        self.spec = IssuerSpec(order=order, longest_ttl=600, clock_skew=60)
        self.ledger = IssuerLedger()
        self.offered = offered
        self.now = START
        self.pods = [f"pod-{number}" for number in range(pods)]
        self.reports: dict[str, Report] = {}
        self.asleep: set[str] = set()
        self.writes = 0
        self.last: IssuerPlan = self.step()

    def step(self, seconds: float = 1.0) -> IssuerPlan:
        self.now += seconds
        plan = plan_issuer(self.spec, self.ledger, self.offered, self.replicas(), self.now)
        self.writes += plan.ledger != self.ledger
        self.ledger, self.last = plan.ledger, plan
        for pod in self.pods:
            if pod not in self.asleep:
                self.reports[pod] = self.report(plan)
        return plan

    def live(self, seconds: float) -> IssuerPlan:
        until = self.now + seconds
        while self.now < until:
            self.step(min(5.0, until - self.now))
        return self.last

    def report(self, plan: IssuerPlan) -> Report:
        return Report(
            sent_at=self.now + 0.1,
            heard_at=self.now + 0.2,
            clock=self.now + 0.1,
            digests={},
            served=frozenset(jwk["kid"] for jwk in plan.published),
            held=frozenset(held.kid for held in plan.held),
            signing=dict(plan.active),
        )

    def replicas(self) -> list[Replica]:
        return [
            Replica(pod, pod, "sts", ever_ready=True, ready=True, terminating=False, report=self.reports.get(pod))
            for pod in self.pods
            if self.ledger.keys
        ]

    def published(self) -> list[str]:
        return [jwk["kid"] for jwk in self.last.published]
