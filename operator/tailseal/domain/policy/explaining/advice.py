"""What would let a token or a request pass a check that it failed: said to the owner of the policy.

Nothing here holds a value of the token: what may be shown of it is decided elsewhere.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tailseal.domain.policy.compiled import CompiledGrant, CompiledPolicy
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.expressions import patterns
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.matchers import Rule, Verdict
from tailseal.domain.policy.providers.granted import CAPABILITIES
from tailseal.domain.policy.trust import Claims, Trust, Verified

_IDS: Final = re.compile(r"@[0-9]+(?=[/:])")
_TYPED: Final[Mapping[type, tuple[str, str]]] = {
    str: ("a text", "exact"),
    bool: ("a boolean", "exactBoolean"),
    int: ("a whole number", "exactInteger"),
    float: ("a number with a fraction", "exactDecimal"),
}
FIXED: Final[Mapping[Denial, str]] = {
    Denial.KEYS_EXPIRED: "put the issuer's present keys and a later expiryTime into the policy",
    Denial.TOKEN_TOO_OLD: "exchange the token sooner after it was issued, or raise maxAge",
    Denial.EXCEEDS_BOUNDS: "ask the owner of the IdentityProvider, or narrow the policy to its bounds",
    Denial.ACTOR_NOT_ALLOWED: "leave actor_token out, or say in `actors` who may act for the subject",
    Denial.ACTOR_NOT_TRUSTED: "if it may act, add it to `actors`, or widen the entry that is meant for it",
    Denial.ACTOR_NOT_NAMED: "have the issuer of the subject token name this actor (iss and sub) in may_act",
    Denial.TOKEN_TYPE_NOT_GRANTED: "ask for another requested_token_type, or add a grant that gives that type",
    Denial.AMBIGUOUS_GRANT: "name one by audience, resource or grant",
    Denial.CONDITION_BUDGET: "write rules in place of the condition, or fewer policies for the same token and target",
    Denial.CONDITION_ERROR: "ask has(claims.NAME) before a claim that may be missing, and compare it with its own type",
    Denial.CONDITION_FALSE: "if this token is to be trusted, change the condition; if not, the refusal is right",
    Denial.CLAIM_ERROR: "name claims that the token has, and write string(...) around what is no text",
    Denial.AUDIT_ONLY: "set enforcement: Enforce once it is meant to grant",
}


def value_at(claims: Claims, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - any JSON value
    """What the token says there; None where it says nothing."""
    found: Any = claims
    for step in path:
        found = found.get(step) if isinstance(found, dict | Mapping) else None
    return found


def nested(path: tuple[str, ...], value: object) -> dict[str, Any]:
    """Claims that say this value there, and nothing else."""
    for step in reversed(path[1:]):
        value = {step: value}
    return {path[0]: value}


def of_rule(rule: Rule, claims: Claims, verdict: Verdict) -> str:
    """What would let the token pass a subject or claim rule, or the rule take the token."""
    if rule.expected.startswith("present: "):
        return "" if verdict is Verdict.MATCH else "have the issuer leave the claim as the rule asks, or drop the rule"
    if verdict is Verdict.MISSING and rule.path == (CAPABILITIES,):
        return "exchange, at the identity provider, a token that somebody logged in for: nobody else is granted any"
    if verdict is Verdict.MISSING:
        return _missing(rule.path, claims)
    found = value_at(claims, rule.path)
    if verdict is Verdict.WRONG_TYPE:
        return _wrong_type(rule, found)
    return _mismatch(rule, found) if verdict is Verdict.MISMATCH else ""


def of_audience(policy: CompiledPolicy) -> str:
    """What would make the token one for us."""
    wanted = " or ".join(sorted(policy.trust.audiences))
    return f"have the issuer make the token for {wanted}; other audiences only as the provider's bounds allow"


def of_trust(trust: Trust, denial: Denial, token: Verified) -> str:
    """What would help where all rules hold and the token does not count all the same."""
    if denial is Denial.ALGORITHM_NOT_ALLOWED:
        listed = ", ".join([*sorted(trust.algorithms), token.algorithm])
        return f"if the issuer signs with it on purpose: algorithms: [{listed}]"
    return FIXED.get(denial, "")


def of_grant(grant: CompiledGrant, request: GrantRequest, denial: Denial) -> str:
    """What would make the grant cover the request."""
    if denial is Denial.TARGET_NOT_GRANTED:
        return f"ask for one of: {', '.join(sorted(grant.targets))}"
    if denial is Denial.GRANT_NOT_FOUND:
        return f"ask for grant {grant.name}"
    if denial is Denial.SCOPE_NOT_GRANTED:
        return _excess("scope", request.scopes, grant.scopes)
    if denial is Denial.TAG_NOT_GRANTED:
        return _excess("tag", request.tags, grant.tags)
    return FIXED.get(denial, "")


def _excess(what: str, asked: Sequence[str], granted: Sequence[str]) -> str:
    beyond = ", ".join(word for word in asked if word not in granted)
    return f"leave out {what} {beyond}, or add it to the grant; granted: {', '.join(granted) or 'none'}"


def _missing(path: tuple[str, ...], claims: Claims) -> str:
    around = claims if len(path) == 1 else value_at(claims, path[:-1])
    names = [name for name in around if name.isprintable()] if isinstance(around, dict | Mapping) else []
    near = difflib.get_close_matches(path[-1], names, n=1, cutoff=0.75)
    if near:
        return f"the token has `{near[0]}`: correct the name if that is the one that is meant"
    return "have the issuer put the claim into the token, or base the policy on a claim that it has"


def _wrong_type(rule: Rule, found: object) -> str:
    if not isinstance(found, list) and rule.test(nested(rule.path, [found])) is not Verdict.WRONG_TYPE:
        return "the claim is no list: leave `match` out of the rule"
    if isinstance(found, list):
        return "the claim is a list: add `match: Any` (one element is enough) or `match: All` to the rule"
    if type(found) in _TYPED:
        kind, member = _TYPED[type(found)]
        return f"the claim is {kind}: write `{member}` in the rule"
    return "the claim is an object, or stands in none: name a member of it by `path`"


def _mismatch(rule: Rule, found: object) -> str:
    member, _, wanted = rule.expected.partition(": ")
    if isinstance(found, str):
        return _text_mismatch(member, wanted, found)
    if isinstance(found, list):
        return "no element (with `match: All`: not every element) is what the rule asks for"
    return _otherwise(member)


def _text_mismatch(member: str, wanted: str, found: str) -> str:
    if member == "exact" and (hint := _nearly(wanted, found)):
        return hint
    if member == "exact" and re.search(r"[*?]", wanted) and _matches(wanted, found):
        return "exact takes * and ? as they are: write `glob`"
    if member == "glob" and _matches(re.sub(r"\*+", "**", wanted), found):
        return "* stops at / : @ and ** does not: write ** where it may cross them, if that is meant"
    return _otherwise(member)


def _nearly(wanted: str, found: str) -> str:
    """How two texts differ that look the same to people."""
    if found.casefold() == wanted.casefold():
        return "they differ in upper and lower case only, and that counts"
    if found.strip().rstrip("/") == wanted.strip().rstrip("/"):
        return "they differ in blanks or a slash at the end only, and that counts"
    if _IDS.sub("", found) == wanted:
        return "the issuer writes ids into the subject (owner@id/repository@id): put them into the rule"
    return ""


def _matches(pattern: str, text: str) -> bool:
    try:
        return patterns.glob(pattern)(text)
    except patterns.PatternError:
        return False


def _otherwise(member: str) -> str:
    how = "add the value to oneOf" if member == "oneOf" else "change the rule"
    return f"if this token is to be trusted, {how}; if not, the refusal is right"
