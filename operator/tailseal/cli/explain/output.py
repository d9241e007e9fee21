"""An explanation as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tailseal.api.times import format_time
from tailseal.cli.explain.explanation import CHECKED, UNCHECKED, Report, Source
from tailseal.cli.output import printable
from tailseal.domain.policy.decide import Granted, Refused
from tailseal.domain.policy.explaining import retold
from tailseal.domain.policy.explaining.account import Account, Check
from tailseal.domain.policy.explaining.sensitivity import shown
from tailseal.domain.policy.review.gathering import Name
from tailseal.tokens.compact import Compact

_SHOWN_CLAIMS: Final = ("iss", "sub", "aud")
_OF_TIME: Final = frozenset({"TokenExpired", "TokenNotYetValid", "TokenTooOld"})
_TIMES: Final = ("iat", "nbf", "exp")


@dataclass(frozen=True, slots=True)
class Frame:
    """What an explanation is about.

    Args:
        provider: namespace and name.
        assumed: whether the provider is not among the manifests, so that a stand-in took its place.
        ignored: manifests that could not be read, and why.
    """

    provider: Name
    assumed: bool
    ignored: tuple[str, ...] = ()


def warnings(report: Report, frame: Frame) -> Iterator[str]:
    """What the verdict does not cover."""
    if any(source.signature == UNCHECKED for source in report.sources):
        yield "the signature was NOT checked: the token may be forged; --jwks FILE checks it against the issuer's keys"
    if report.actor_assumed:
        yield "the signature of the actor token was NOT checked: it may be forged"
    if frame.assumed:
        yield (
            f"IdentityProvider {'/'.join(frame.provider)} is not among the manifests: its bounds, upstreams and "
            "default audiences were NOT checked; add its manifest with another -f"
        )
    yield from (f"not read: {problem}" for problem in frame.ignored)


def text(report: Report, frame: Frame) -> str:
    """For people: the verdict first, then each policy with what stood in its way."""
    lines = [*_verdict(report), "", *_token(report.token), f"provider   {'/'.join(frame.provider)}"]
    lines += [f"warning    {warning}" for warning in warnings(report, frame)]
    for source in report.sources:
        lines += ["", *_source(source)]
        for account in source.accounts:
            lines += ["", *account_lines(account, near=account.policy == report.nearest)]
    for policy, findings in report.refused:
        lines += ["", f"{policy}: not accepted, grants nothing"]
        lines += [f"  FAIL  {finding.path}: {finding.message} ({finding.reason.value})" for finding in findings]
    if report.others:
        lines += ["", "policies of other issuers:"]
        lines += [f"  {policy}  {issuer}" for policy, issuer in report.others]
    return "\n".join(map(printable, lines))


def document(report: Report, frame: Frame) -> dict[str, Any]:
    """For programs: the content of the JSON envelope."""
    return {
        "decision": _decision(report),
        "token": _token_document(report.token),
        "provider": {"namespace": frame.provider[0], "name": frame.provider[1], "assumed": frame.assumed},
        "warnings": list(warnings(report, frame)),
        "nearestMiss": report.nearest or None,
        "keySources": [_source_document(source) for source in report.sources],
        "policies": [retold.document(account) for source in report.sources for account in source.accounts],
        "notAccepted": [
            {
                "policy": policy,
                "findings": [
                    {"field": finding.path, "reason": finding.reason.value, "message": finding.message}
                    for finding in findings
                ],
            }
            for policy, findings in report.refused
        ],
        "otherIssuers": [{"policy": policy, "issuer": issuer} for policy, issuer in report.others],
    }


def _verdict(report: Report) -> Iterator[str]:
    decision = report.decision
    if report.granted and isinstance(decision, Granted):
        condition = "" if _checked(report) else ", if the signature is right"
        yield f"GRANTED by {decision.policy.id}, grant {decision.grant.name}{condition}"
        yield from (f"  {name:<8} {value}" for name, value in _given(decision))
    else:
        yield f"REFUSED: {report.reason} ({report.message})"
        if report.reason in _OF_TIME:
            yield "  --at TIME explains the decision as of another time"
    if isinstance(decision, Granted | Refused) and decision.audited:
        yield f"  would grant, but enforcement is Audit: {', '.join(decision.audited)}"


def _checked(report: Report) -> bool:
    return any(source.signature == CHECKED and source.decision is report.decision for source in report.sources)


def _given(decision: Granted) -> Iterator[tuple[str, str]]:
    yield "audience", ", ".join(decision.audience or sorted(decision.grant.targets))
    if decision.scopes:
        yield "scope", " ".join(decision.scopes)
    if decision.tags:
        yield "tags", " ".join(decision.tags)
    if decision.ttl:
        yield "lifetime", f"{decision.ttl}s at most"


def _token(token: Compact | None) -> Iterator[str]:
    if token is None:
        return
    for name in _SHOWN_CLAIMS:
        if token.payload.get(name) is not None:
            yield f"{name:<10} {shown((name,), token.payload[name])}"
    yield f"{'signed':<10} {token.alg}, key {shown(('kid',), token.kid) if token.kid else 'not named'}"
    times = ", ".join(f"{name} {instant}" for name, instant in _instants(token))
    if times:
        yield f"{'times':<10} {times}"


def _instants(token: Compact) -> Iterator[tuple[str, str]]:
    for name in _TIMES:
        value = token.payload.get(name)
        if type(value) is int and 0 <= value < 253_402_300_800:  # noqa: PLR2004 - the year 10000
            yield name, format_time(value)


def _source(source: Source) -> Iterator[str]:
    where = "in the policy" if source.source.kind == "jwks" else source.source.location
    yield f"keys {source.source.kind} {where}: signature {source.signature}"
    if source.problem is not None:
        yield f"  FAIL  {source.problem.reason}: {source.problem.message}; policies with these keys do not count"


def account_lines(account: Account, *, near: bool) -> Iterator[str]:
    """For people: one policy's part."""
    mode = "" if account.enforce else " (Audit)"
    verdict = "matches" if not account.failures or account.outcome == "match" else f"no: {account.outcome}"
    yield f"{account.policy}{mode}: {verdict}{'   <- nearest miss' if near else ''}"
    failures = account.failures
    for check in account.checks:
        if check.passed or check in failures:
            yield from _check(check)


def _check(check: Check) -> Iterator[str]:
    claim = f" ({check.claim})" if check.claim and not check.field.endswith(check.claim) else ""
    if check.passed:
        yield f"  ok    {check.field}{claim}{f': {check.note}' if check.note else ''}"
        return
    yield f"  FAIL  {check.field}{claim}: {check.outcome}"
    if check.expected:
        yield f"          expected  {check.expected}"
    if check.found:
        yield f"          found     {check.found}"
    if check.fix:
        yield f"          fix       {check.fix}"


def _decision(report: Report) -> dict[str, Any]:
    decision = report.decision
    audited = list(decision.audited) if decision is not None else []
    if not report.granted or not isinstance(decision, Granted):
        return {"granted": False, "reason": report.reason, "message": report.message, "wouldAllow": audited}
    return {
        "granted": True,
        "signatureChecked": _checked(report),
        "policy": decision.policy.id,
        "grant": decision.grant.name,
        "audience": list(decision.audience or sorted(decision.grant.targets)),
        "scopes": list(decision.scopes),
        "tags": list(decision.tags),
        "ttlSeconds": decision.ttl or None,
        "wouldAllow": audited,
    }


def _token_document(token: Compact | None) -> dict[str, Any] | None:
    if token is None:
        return None
    claims = {
        name: shown((name,), token.payload[name]) for name in _SHOWN_CLAIMS if token.payload.get(name) is not None
    }
    return {"algorithm": token.alg, "claims": claims, "times": dict(_instants(token))}


def _source_document(source: Source) -> dict[str, Any]:
    problem = source.problem
    return {
        "issuer": source.source.issuer,
        "kind": source.source.kind,
        "location": source.source.location,
        "signature": source.signature,
        "problem": {"reason": problem.reason, "message": problem.message} if problem else None,
    }
