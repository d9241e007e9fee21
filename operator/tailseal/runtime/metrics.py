"""The operator's metrics: own registry, few series, labels only from fixed sets."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series


class OperatorMetrics:
    """All families; one object per process, or per test."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self.reconciles = Counter(
            "tailseal_operator_reconciles", "Runs of a controller.", ("controller", "result"), registry=registry
        )
        self.duration = Histogram(
            "tailseal_operator_reconcile_duration_seconds",
            "Time of a run.",
            ("controller",),
            buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0),
            registry=registry,
        )
        self.writes = Counter(
            "tailseal_operator_writes", "Requests to the API server that could write.", ("method",), registry=registry
        )
        self.depth = Gauge("tailseal_operator_queue_depth", "Keys that wait for a worker.", registry=registry)
        self.objects = Gauge("tailseal_operator_objects", "Objects in the store.", ("kind",), registry=registry)
        self.missed = Counter(
            "tailseal_operator_missed_deletions", "Deletions found by a list that no watch told of.", registry=registry
        )
        self.polls = Counter("tailseal_operator_polls", "Questions to replicas.", ("result",), registry=registry)
        self.events_dropped = Counter(
            "tailseal_operator_events_dropped", "Events for people that were given up.", registry=registry
        )
        self.leading = Gauge("tailseal_operator_leading", "1 if this replica acts.", registry=registry)

    def expose(self) -> bytes:
        """The text that a scrape gets."""
        return generate_latest(self.registry)
