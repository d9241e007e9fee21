"""The exchange without HTTP: form in, audit line written, metrics counted, answer out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from statistics import median

from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.tokens import compact, verify
from tailseal.tokens.exchange import Answered, Call, Exchange
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.tokens.signers import LocalSigner
from tailseal.workers.common.telemetry.audit import Audit
from tailseal.workers.common.telemetry.event import event, origin
from tailseal.workers.common.telemetry.metrics import Metrics
from tailseal_dev.bench import clock
from tailseal_dev.bench.raw import Raw
from tailseal_dev.bench.report import Row
from tailseal_dev.bench.workload import ISSUER, SETTINGS, Workload

COUNT = 2000
FORM = "application/x-www-form-urlencoded"

_ORIGIN = origin("sts", "token", SETTINGS)


class _Keys:
    """All keys in hand, as in a cache that is warm."""

    def __init__(self, index: PolicyIndex, issuers: Iterator[str]) -> None:
        self._sets: dict[KeySource, KeySet] = {}
        for issuer in issuers:
            for source in index.issuers(issuer):
                self._sets[source] = parse_jwks(source.jwks.encode())

    def get(self, source: KeySource, kid: str | None) -> KeySet | None:  # noqa: ARG002 - the protocol's signature
        return self._sets.get(source)


class Core:
    """The synchronous part of the token endpoint over a workload."""

    def __init__(self, workload: Workload) -> None:
        index = PolicyIndex(compile_policy(record, SETTINGS) for record in workload.records())
        signer = LocalSigner(workload.ours, workload.alg, "k1")
        self._exchange = Exchange(SETTINGS, index, lambda _alg, _now: signer, 3600)
        self._keys = _Keys(index, (record.spec["from"]["oidc"]["issuer"] for record in workload.records()[:50]))
        self._metrics = Metrics()
        self._audit = Audit(os.open(os.devnull, os.O_WRONLY))
        self._bodies = workload.bodies()

    def run(self, count: int) -> None:
        """Decide that many requests.

        Raises:
            RuntimeError: one of them was not granted: then nothing that was measured means anything.
        """
        for _ in range(count):
            started = time.perf_counter()
            call = Call(next(self._bodies), os.urandom(16).hex(), FORM, "", False, "192.0.2.7")
            outcome = self._exchange.step(call, self._keys, time.time())
            if not isinstance(outcome, Answered) or outcome.response.status != 200:  # noqa: PLR2004
                raise RuntimeError(f"not granted: {outcome}")
            self._audit.write(event(outcome.audit, _ORIGIN, time.perf_counter() - started))
            self._metrics.exchange("token", outcome.result, outcome.reason, time.perf_counter() - started)


def exchange(workload: Workload, raw: Raw, rounds: int) -> Row:
    """CPU of raw verify + sign ÷ CPU of an exchange without HTTP."""
    core = Core(workload)
    core.run(COUNT)
    ratios, spent = [], []
    with clock.on(clock.core(clock.SERVER_CORE)):
        for _ in range(rounds):
            before = raw.verify_and_sign()
            spent.append(clock.spent(lambda: core.run(COUNT), COUNT))
            ratios.append((before + raw.verify_and_sign()) / 2 / spent[-1])
    return Row(
        "exchange without HTTP: raw verify + sign ÷ CPU",
        f"{median(spent) * 1e6:.0f} µs CPU",
        median(ratios),
        ">= 0.28",
        ">= 0.40",
    )


def reading(workload: Workload, raw: Raw, rounds: int) -> Row:
    """CPU of split, verify and claims ÷ CPU of a raw RSA verification."""
    tokens = [workload.token(number) for number in range(200)]
    keys = parse_jwks({"keys": [_jwk(workload)]})

    def read() -> None:
        now = time.time()
        for token in tokens:
            found = compact.split(token)
            verify.check_signature(found, keys)
            verify.check_claims(found.payload, now=now, skew=60)
            assert ISSUER in verify.audiences(found.payload)  # noqa: S101 - a benchmark must not measure a failure

    spent, bare = [], []
    for _ in range(rounds * 3):
        spent.append(clock.spent(read, len(tokens)))
        bare.append(raw.verify(500))
    return Row(
        "JWT in: split, verify, claims ÷ raw RSA verify",
        f"{median(spent) * 1e6:.0f} µs against {median(bare) * 1e6:.0f}",
        median(spent) / median(bare),
        "<= 2.2",
        "<= 1.6",
    )


def _jwk(workload: Workload) -> dict[str, object]:
    from tailseal_dev.bench.workload import public_jwk  # noqa: PLC0415

    return public_jwk(workload.foreign, "f1", "RS256")
