"""A worker's metrics: own registry, few series, labels only from fixed sets or configured names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from tailseal.workers.common.telemetry.lines import STANDARD_ERROR

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0)

_STATE_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.0)

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series and triple the time of a scrape


class Metrics:
    """All families; one object per process, or per test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._provider = ""
        self._children: dict[tuple[str, str, str], Counter] = {}
        self._durations: dict[str, Histogram] = {}
        self._of_exchanges(self.registry)
        self._of_others(self.registry)
        self._of_bundle(self.registry)
        self.registry.register(_LostLines())

    def _of_exchanges(self, registry: CollectorRegistry) -> None:
        self._exchanges = Counter(
            "tailseal_exchanges",
            "Decisions about token exchanges.",
            ("provider", "endpoint", "result", "reason"),
            registry=registry,
        )
        self._duration = Histogram(
            "tailseal_exchange_duration_seconds",
            "Time from the complete request to the answer.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._trials = Counter(
            "tailseal_audited_policies",
            "What policies under Audit would have done with tokens that their rules trust: allow or deny.",
            ("namespace", "outcome"),
            registry=registry,
        )
        self._exhausted = Counter(
            "tailseal_condition_budget_exhausted",
            "Requests in which expressions of the namespace's policies took more than a request may cost.",
            ("namespace",),
            registry=registry,
        )
        self._faults = Counter(
            "tailseal_capability_faults",
            "What callers' app capabilities say to no effect, by request: malformedRule or differingClaim.",
            ("fault",),
            registry=registry,
        )
        self._refused_heads = Counter(
            "tailseal_refused_heads",
            "Requests refused by their head: malformed, tooLarge, or crowded where all connections are taken.",
            ("reason",),
            registry=registry,
        )

    def _of_others(self, registry: CollectorRegistry) -> None:
        self._fetches = Counter(
            "tailseal_key_fetches", "Fetches of foreign issuers' keys.", ("result",), registry=registry
        )
        self._upstream = Counter(
            "tailseal_upstream_requests", "Requests to upstreams.", ("upstream", "result"), registry=registry
        )
        self._state = Histogram(
            "tailseal_state_duration_seconds",
            "Questions to the store: ok, replayed, or the reason for which it gave no answer.",
            ("operation", "result"),
            buckets=_STATE_SECONDS,
            registry=registry,
        )
        self._held = Gauge(
            "tailseal_state_records", "What the store held at the last sweep, by kind.", ("kind",), registry=registry
        )

    def _of_bundle(self, registry: CollectorRegistry) -> None:
        self._loads = Counter(
            "tailseal_bundle_loads", "Attempts to load a changed volume.", ("volume", "result"), registry=registry
        )
        self.ready = Gauge("tailseal_ready", "1 if this replica has a valid bundle.", registry=registry)
        self.problems = Gauge("tailseal_bundle_problems", "Parts of the bundle not loaded.", registry=registry)
        self.policies = Gauge("tailseal_policies", "Policies that may grant.", registry=registry)
        self.loaded_at = Gauge(
            "tailseal_bundle_load_timestamp_seconds", "When the bundle in use was loaded.", registry=registry
        )
        self.polled_at = Gauge(
            "tailseal_last_poll_timestamp_seconds", "When the operator last asked; 0 is never.", registry=registry
        )
        self.behind = Gauge(
            "tailseal_replica_behind_seconds", "For how long another bundle is wanted than loaded.", registry=registry
        )
        self.sign_until = Gauge(
            "tailseal_key_sign_until_timestamp_seconds",
            "End of the active signer's lease.",
            ("algorithm",),
            registry=registry,
        )

    def use_provider(self, provider: str) -> None:
        """Label what follows with the provider's `namespace/name`."""
        if provider != self._provider:
            self._provider = provider
            self._children.clear()

    def exchange(self, endpoint: str, result: str, reason: str, seconds: float) -> None:
        """Count a decision.

        Args:
            endpoint: `token` or another fixed word.
            result: `granted`, `refused` or `error`.
            reason: a member of the enum of reasons, or empty; never text from a request.
            seconds: how long it took.
        """
        key = (endpoint, result, reason)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._exchanges.labels(self._provider, endpoint, result, reason)
            self._durations[endpoint] = self._duration.labels(endpoint)
        child.inc()
        self._durations[endpoint].observe(seconds)

    def decided(self, audit: Mapping[str, Any]) -> None:
        """Count what an audit line tells beside the decision; namespaces are those of policies in the bundle."""
        for policy in audit.get("wouldAllow", ()):
            self._trials.labels(policy.partition("/")[0], "allow").inc()
        for trial in audit.get("wouldDeny", ()):
            self._trials.labels(trial["policy"].partition("/")[0], "deny").inc()
        for namespace in audit.get("exhausted", ()):
            self._exhausted.labels(namespace).inc()
        if rules := audit.get("malformedRules"):
            self._faults.labels("malformedRule").inc(len(rules))
        if claims := audit.get("differingClaims"):
            self._faults.labels("differingClaim").inc(len(claims))

    def load(self, volume: str, *, ok: bool) -> None:
        """Count an attempt to load a volume."""
        self._loads.labels(volume, "ok" if ok else "refused").inc()

    def fetch(self, *, ok: bool) -> None:
        """Count a fetch of a foreign issuer's keys."""
        self._fetches.labels("ok" if ok else "failed").inc()

    def refused_head(self, reason: str) -> None:
        """Count a request that was refused before its endpoint was known; reason is a fixed word of `protocol`."""
        self._refused_heads.labels(reason).inc()

    def upstream(self, name: str, result: str) -> None:
        """Count a request to an upstream that settings name; result is `ok` or an error's reason word."""
        self._upstream.labels(name, result).inc()

    def state(self, operation: str, result: str, seconds: float) -> None:
        """Count and time a question to the store; operation is its name, result a fixed word."""
        self._state.labels(operation, result).observe(seconds)

    def state_holds(self, held: Mapping[str, int]) -> None:
        """Say how much of everything the store holds, by fixed names."""
        for kind, number in held.items():
            self._held.labels(kind).set(number)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)


class _LostLines(Collector):
    def collect(self) -> Iterable[CounterMetricFamily]:
        yield CounterMetricFamily(
            "tailseal_log_lines_dropped",
            "Lines of the application log that were lost, since nobody reads it.",
            value=STANDARD_ERROR.dropped,
        )
