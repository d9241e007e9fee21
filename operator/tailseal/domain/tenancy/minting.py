"""What a minted JWT may say of its bearer, whatever a policy's expressions give: for bounds and for the decision.

Claims that say who issued a token, for whom, until when and by which policy are ours. Those that speak of identity
can be set where bounds list them. A subject is the policy's own, or begins as bounds allow; never like a person's or
a node's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.domain.policy.compiled import CompiledGrant
from tailseal.domain.policy.expressions import patterns

OUR_CLAIMS: Final = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "act", "may_act", "cnf", "client_id", "scope", "policy"}
)
"""Claims that we set, and nobody else: verifiers decide by them, whatever bounds say."""

RESERVED_CLAIMS: Final = OUR_CLAIMS | {
    *("azp", "nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "sid", "events", "typ", "roles", "entitlements"),
    *("groups", "email", "email_verified", "name", "preferred_username", "picture", "phone_number"),
    *("phone_number_verified", "given_name", "family_name", "middle_name", "nickname", "profile", "website"),
    *("gender", "birthdate", "zoneinfo", "locale", "address", "updated_at"),
    *("_claim_names", "_claim_sources", "authorization_details", "sub_id", "scp", "role", "permissions", "upn"),
    *("node", "nid", "uid", "tailnet", "addresses", "key", "user", "username"),
}
"""Claims that are ours or speak of who somebody is: a policy may set them only where bounds list them."""

_SUBJECTS: Final = ("policy:", "userid:", "node:", "tailseal:", "system:")
"""Forms of `sub` that mean somebody: other policies, people, nodes, ourselves, and Kubernetes' own."""


def excess(grant: CompiledGrant, path: str, claims: Collection[str], prefixes: Collection[str]) -> Iterator[Finding]:
    """What the grant's JWT must not say.

    Args:
        grant: of any kind; others than JWTs say nothing.
        path: of the grant's member, e.g. `spec.grants[0].jwt`.
        claims: reserved claims that may be set.
        prefixes: patterns of what a subject may begin with beside the policy's own.
    """
    for number, (claim, _) in enumerate(grant.claims):
        where = f"{path}.claims[{number}].name"
        read_as = claim.casefold()  # as Go's encoding/json does, which takes `Scope` for `scope`
        if read_as in OUR_CLAIMS:
            yield Finding(where, f"claim {claim} is set by the IdentityProvider alone: choose another name")
        elif read_as in RESERVED_CLAIMS and claim not in claims:
            yield _exceeds(where, f"claim {claim} is reserved", "jwt.claims")
    prefix = grant.subject_prefix
    if not prefix:
        return
    where = f"{path}.subjectPrefix"
    if any(prefix.lower().startswith(form) or form.startswith(prefix.lower()) for form in _SUBJECTS):
        yield Finding(where, f"a subject must not begin with any of {', '.join(_SUBJECTS)}: choose another prefix")
    elif not any(_allows(pattern, prefix) for pattern in prefixes):
        yield _exceeds(where, f"prefix {prefix}", "jwt.subjectPrefixes")


def _allows(pattern: str, prefix: str) -> bool:
    try:
        return patterns.allows(pattern)(prefix)
    except patterns.PatternError:  # a bound that means nothing allows nothing
        return False


def _exceeds(path: str, what: str, member: str) -> Finding:
    message = f"{what}: the IdentityProvider's bounds do not allow it (bounds[].{member})"
    return Finding(path, message, Reason.EXCEEDS_BOUNDS)
