"""Explains a decision of this replica afterwards: what was recorded, and what each policy of now says to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted
from tailseal.domain.policy.explaining import retold
from tailseal.domain.policy.explaining.account import Account
from tailseal.domain.policy.explaining.explain import explain, nearest
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.providers import tailnet
from tailseal.domain.policy.trust import Verified
from tailseal.tokens import compact, verify
from tailseal.tokens.errors import TokenError
from tailseal.tokens.standing import recalled
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.common.telemetry.ring import Claims, Record

MOST_POLICIES: Final = 200
"""Policies that are retold; of more, those that the token could match come first."""


@dataclass(frozen=True, slots=True)
class Hindsight:
    """Answers questions about decisions.

    Args:
        runtime: the worker's ports.
    """

    runtime: Runtime

    def answer(self, line: bytes) -> bytes:
        """The answer to one question as JSON.

        Args:
            line: `{"decision": ID, "namespace": NAME}`; without namespace: all policies.
        """
        try:
            question = orjson.loads(line)
            decision, namespace = str(question["decision"]), str(question.get("namespace") or "")
        except (ValueError, TypeError, KeyError, AttributeError):
            return orjson.dumps({"error": 'a question is needed: {"decision": ID}'})
        record, snapshot = self.runtime.ring.find(decision), self.runtime.current()
        if record is None or snapshot is None:
            return orjson.dumps({"error": "this replica does not know the decision, or not any more"})
        return orjson.dumps(_document(record, snapshot, namespace), default=_plain)


def _document(record: Record, snapshot: Snapshot, namespace: str) -> dict[str, Any]:
    accounts, decisions, omitted = _accounts(record, snapshot, namespace)
    miss = nearest(accounts)
    granted = record.audit.get("result") == "granted"
    return {
        "decision": record.audit,
        "request": _asked(record.asked),
        "signature": _checked(record),
        "policyGeneration": _generations(record, snapshot),
        "wouldNowGrant": any(isinstance(decision, Granted) for decision in decisions),
        "nearestMiss": None if granted or miss is None else miss.policy,
        "policies": [retold.document(account) for account in accounts],
        "policiesOmitted": omitted,
    }


def _checked(record: Record) -> str:
    if "node" in record.audit:
        return "not needed: the tailnet says who it is"
    return "checked" if "subject" in record.audit else "not checked"


def _accounts(
    record: Record, snapshot: Snapshot, namespace: str
) -> tuple[tuple[Account, ...], tuple[object, ...], int]:
    """What the policies of each of the issuer's key sources say, their decisions, and how many were left out."""
    if "node" in record.audit:
        return _of_caller(record, snapshot, namespace)
    try:
        issuer, audiences, claims = _read(record.subject)
        actors = _actors(record, snapshot.index)
    except TokenError:
        return (), (), 0
    asked, now = record.asked or GrantRequest(), _time(record)
    accounts: list[Account] = []
    decisions, omitted = [], 0
    for source in snapshot.index.considered(issuer, asked.policy):
        subject = Verified(source, record.subject.algorithm, audiences, recalled(claims, source))
        chosen, left_out = _chosen(snapshot.index, subject, asked, namespace)
        explained = explain(PolicyIndex(chosen), subject, asked, snapshot.settings, now, actors=actors)
        accounts += explained.accounts
        decisions.append(explained.decision)
        omitted += left_out
    return tuple(accounts), tuple(decisions), omitted


def _of_caller(
    record: Record, snapshot: Snapshot, namespace: str
) -> tuple[tuple[Account, ...], tuple[object, ...], int]:
    """The same where the tailnet vouched for the caller, and there was no token."""
    asked = record.asked or GrantRequest()
    subject = tailnet.recalled(compact.json_object(compact.decode(record.subject.payload)), snapshot.settings)
    chosen, left_out = _chosen(snapshot.index, subject, asked, namespace)
    explained = explain(PolicyIndex(chosen), subject, asked, snapshot.settings, _time(record))
    return explained.accounts, (explained.decision,), left_out


def _read(kept: Claims) -> tuple[str, Sequence[str], dict[str, Any]]:
    """Issuer, audiences and all claims.

    Raises:
        TokenError: there was no well-formed token.
    """
    claims = compact.json_object(compact.decode(kept.payload))
    return verify.issuer(claims), verify.audiences(claims), claims


def _actors(record: Record, index: PolicyIndex) -> tuple[Verified, ...] | None:
    """The actor token, once for each source that may have verified it: none if it was no token; None: nobody acted."""
    if not record.actor.payload:
        return () if "actorTokenHash" in record.audit else None
    issuer, audiences, claims = _read(record.actor)
    seen = ((source, recalled(claims, source)) for source in index.actors(issuer))
    return tuple(Verified(source, record.actor.algorithm, audiences, said) for source, said in seen)


def _chosen(
    index: PolicyIndex, subject: Verified, asked: GrantRequest, namespace: str
) -> tuple[Sequence[CompiledPolicy], int]:
    found = {policy.id: policy for policy in _ordered(index, subject)}
    named = found.get(asked.policy) if asked.policy is not None else None
    if named is not None:
        return (named,), 0
    mine = [policy for policy in found.values() if namespace in {"", policy.namespace}]
    return mine[:MOST_POLICIES], max(0, len(mine) - MOST_POLICIES)


def _ordered(index: PolicyIndex, subject: Verified) -> Iterable[CompiledPolicy]:
    yield from index.candidates(subject.source, subject.audiences, subject.claims)
    yield from index.all(subject.source)


def _generations(record: Record, snapshot: Snapshot) -> dict[str, object] | None:
    """Of the policy that decided: the generation then, and the one of now, if it is still there."""
    name = record.audit.get("policy")
    if not isinstance(name, str):
        return None
    policy = snapshot.index.get(name)
    return {"then": record.audit.get("generation"), "now": None if policy is None else policy.generation}


def _time(record: Record) -> float:
    time = record.audit.get("time")
    return float(time) if isinstance(time, int | float) else 0.0


def _asked(asked: GrantRequest | None) -> dict[str, object]:
    return {name: value for name, value in asked._asdict().items() if value} if asked else {}


def _plain(value: object) -> object:
    """Tuples of strings and the like; nothing else is recorded."""
    return list(value) if isinstance(value, tuple | frozenset) else str(value)
