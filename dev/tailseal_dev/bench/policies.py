"""Policy decisions in the worst case: every policy on one issuer and one audience, told apart by an owner's id."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from tailseal.domain.bundle.model import PolicyRecord
from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.decide import Granted, GrantRequest, decide
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.trust import Verified
from tailseal_dev.bench import clock
from tailseal_dev.bench.raw import Raw
from tailseal_dev.bench.report import Row
from tailseal_dev.bench.workload import ISSUER, SETTINGS, TARGET

GITHUB = "https://token.actions.githubusercontent.com"
COUNT = 5000


def rows(raw: Raw, rounds: int, *, most: int = 100_000) -> Iterator[Row]:
    """A decision among 1,000 policies, and among many more."""
    few, spent_raw = decision(1000, rounds), raw.verify_and_sign()
    yield Row(
        "policy decision, 1,000 policies on one issuer ÷ raw verify + sign",
        f"{few * 1e6:.1f} µs CPU (<= 10)",
        few / spent_raw,
        "<= 0.15",
    )
    if most:
        many = decision(most, rounds)
        yield Row(
            f"policy decision, {most:,} policies ÷ 1,000 policies",
            f"{many * 1e6:.1f} µs CPU",
            many / few,
            "<= 2.0",
        )


def decision(policies: int, rounds: int) -> float:
    """Seconds of CPU of one decision."""
    index = PolicyIndex(compile_policy(_record(number), SETTINGS) for number in range(policies))
    (source,) = index.issuers(GITHUB)
    request, now = GrantRequest(audiences=(TARGET,)), time.time()
    subjects = [Verified(source, "RS256", (ISSUER,), _claims(number * (policies // 500))) for number in range(500)]

    def run() -> None:
        for position in range(COUNT):
            outcome = decide(index, subjects[position % 500], request, SETTINGS, now)
            if not isinstance(outcome, Granted):
                raise RuntimeError(f"not granted: {outcome}")  # noqa: TRY004 - a failed run, not a wrong argument

    run()
    return median(clock.spent(run, COUNT) for _ in range(rounds))


def _record(number: int) -> PolicyRecord:
    spec = {
        "identityProviderRef": {"name": "bench"},
        "from": {
            "oidc": {
                "issuer": GITHUB,
                "subject": {"glob": "repo:*/*:ref:refs/heads/main"},
                "claims": [{"claim": "repository_owner_id", "exact": str(number)}],
            }
        },
        "grants": [{"name": "api", "jwt": {"audiences": [TARGET]}}],
    }
    return PolicyRecord(namespace="bench", name=f"p{number}", uid="u", generation=1, spec=spec)


def _claims(number: int) -> dict[str, object]:
    return {
        "iss": GITHUB,
        "sub": f"repo:owner{number}/app:ref:refs/heads/main",
        "aud": ISSUER,
        "repository": f"owner{number}/app",
        "repository_owner_id": str(number),
        "ref": "refs/heads/main",
        "event_name": "push",
        "iat": 1,
        "exp": 2,
    }
