"""Turns the policies of TailSTS into TrustPolicies, saying beside each what had to be added, and why.

TailSTS took a token for any audience, and of several policies of one issuer only the first. Neither is carried over.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailseal.api.findings import SpecError
from tailseal.api.meta import API_VERSION
from tailseal.api.reasons import Reason
from tailseal.api.trustpolicy import TrustPolicySpec
from tailseal.api.validation import parse_spec
from tailseal.domain.policy.compile import CompiledPolicy
from tailseal.domain.policy.review.gathering import gather
from tailseal.domain.tenancy.bounds import PINNING_CLAIMS

_TEXTS: Final = ("issuer", "algorithm", "jwks_url")
_MEMBERS: Final = frozenset({*_TEXTS, "subject", "allowed_scopes"})
_PLACES: Final = {
    "spec.from.oidc.issuer": "issuer",
    "spec.from.oidc.algorithms": "algorithm",
    "spec.from.oidc.keys": "jwks_url",
    "spec.from.oidc.subject": "subject",
    "spec.from.oidc.audiences": "--audience",
    "spec.grants": "allowed_scopes",
    "spec.identityProviderRef": "--provider",
}
"""Where a field of ours comes from."""

_UNFIT: Final = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME: Final = 63


@dataclass(frozen=True, slots=True)
class Target:
    """What TailSTS had no words for.

    Args:
        provider: name of the IdentityProvider.
        provider_namespace: its namespace; empty: that of the policies.
        namespace: of the policies; empty: where they are applied.
        upstream: name of the provider's upstream that gives Tailscale tokens.
        audiences: whom tokens must be for; none: the provider's issuer and the URL of its token service.
    """

    provider: str
    provider_namespace: str = ""
    namespace: str = ""
    upstream: str = "tailscale"
    audiences: tuple[str, ...] = ()


class NotTakenOverError(ValueError):
    """The files cannot be taken over, none of them.

    Args:
        problems: everything that is wrong: file, field, what would be right; no value that a file holds.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def translate(files: Mapping[str, bytes], target: Target) -> str:
    """TrustPolicies as YAML with comments, one document a file, in the order of their names.

    Args:
        files: content by name.
        target: where they belong.

    Raises:
        NotTakenOverError: a file is not a policy of TailSTS, or is one that we would not accept.
    """
    problems: list[str] = []
    documents: list[str] = []
    first_of: dict[str, str] = {}
    names: set[str] = set()
    for file in sorted(files):
        try:
            policy = _read(file, files[file])
            spec = _spec(file, policy, target)
        except NotTakenOverError as error:
            problems += error.problems
            continue
        name = _name(file, names)
        comments = list(_comments(policy, name, spec, file, first_of.setdefault(policy["issuer"], file)))
        if first_of[policy["issuer"]] != file:
            spec["enforcement"] = "Audit"
        documents.append(_document(name, comments, spec, target))
    if problems:
        raise NotTakenOverError(problems)
    return "---\n".join([_head(target), *documents])


def _read(file: str, content: bytes) -> dict[str, Any]:
    try:
        policy = tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise NotTakenOverError([f"{file}: is not UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise NotTakenOverError([f"{file}: is not TOML: {error}"]) from None
    if problems := list(_problems(file, policy)):
        raise NotTakenOverError(problems)
    return policy


def _problems(file: str, policy: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(policy.keys() - _MEMBERS):
        yield f"{file}: {name}: there is no such key in TailSTS; there are: {', '.join(sorted(_MEMBERS))}"
    for name in _TEXTS:
        if not isinstance(policy.get(name), str) or not policy[name]:
            yield f"{file}: {name}: a text is required"
    if not isinstance(policy.get("subject", ""), str):
        yield f"{file}: subject: must be a text"
    scopes = policy.get("allowed_scopes")
    if not isinstance(scopes, list) or not scopes or not all(isinstance(scope, str) for scope in scopes):
        yield f"{file}: allowed_scopes: a list of at least one text is required"


def _spec(file: str, policy: Mapping[str, Any], target: Target) -> dict[str, Any]:
    reference = {"name": target.provider, "namespace": target.provider_namespace or None}
    oidc = {
        "issuer": policy["issuer"],
        "keys": {"jwksURI": policy["jwks_url"]},
        "algorithms": [policy["algorithm"]],
        "audiences": list(target.audiences) or None,
        "subject": {"exact": policy["subject"]} if policy.get("subject") else None,
    }
    scopes = list(dict.fromkeys(policy["allowed_scopes"]))
    grant = {"name": "api", "tailscale": {"upstream": target.upstream, "scopes": scopes}}
    spec = {
        "identityProviderRef": {name: value for name, value in reference.items() if value is not None},
        "from": {"oidc": {name: value for name, value in oidc.items() if value is not None}},
        "grants": [grant],
    }
    try:
        parse_spec(TrustPolicySpec, spec, loopback=True)
    except SpecError as error:
        raise NotTakenOverError(f"{file}: {_place(found.path)}: {found.message}" for found in error.findings) from None
    return spec


def _place(path: str) -> str:
    return next((name for place, name in _PLACES.items() if path.startswith(place)), path)


def _name(file: str, taken: set[str]) -> str:
    """A name for the object, from the file's; numbered if another file leads to the same."""
    stem = _UNFIT.sub("-", file.rpartition(".")[0].lower() or file.lower()).strip("-")[: _LONGEST_NAME - 4].strip("-")
    base = stem or "policy"
    name = next(name for name in (base, *(f"{base}-{number}" for number in range(2, 1000))) if name not in taken)
    taken.add(name)
    return name


def _head(target: Target) -> str:
    return (
        "# Taken over from TailSTS.\n"
        f"# IdentityProvider {target.provider} needs an upstream {target.upstream} (spec.upstreams) with the OAuth "
        "client that TailSTS had,\n"
        f"# and sts: {{tailsts: {{upstream: {target.upstream}}}}} for callers that keep asking as they did.\n"
        "# Policies of other namespaces than the provider's need bounds that allow their issuers, keySources,\n"
        "# upstreams and tailscaleScopes.\n"
        "# Tokens must say exp, iat and sub; TailSTS took tokens without.\n"
    )


def _is_unpinned(name: str, spec: Mapping[str, Any]) -> bool:
    """Whether the policy would be refused for trusting everybody's tenants."""
    (judged,) = gather([{"kind": "TrustPolicy", "metadata": {"name": name}, "spec": spec}]).policies
    findings = () if isinstance(judged.outcome, CompiledPolicy) else judged.outcome
    return any(finding.reason is Reason.TENANT_NOT_PINNED for finding in findings)


def _comments(policy: Mapping[str, Any], name: str, spec: Mapping[str, Any], file: str, first: str) -> Iterator[str]:
    yield f"From {_printable(file)}."
    if "audiences" in spec["from"]["oidc"]:
        yield "Added: audiences. TailSTS took tokens for anybody, so a service that was sent one could use it here."
    else:
        yield (
            "Added by leaving audiences out: tokens must be for the provider's issuer or the URL of its token service. "
            "TailSTS took tokens for anybody, so a service that was sent one could use it here."
        )
    yield "Callers must ask their issuer for a token with that audience."
    if first != file:
        yield (
            f"Added: enforcement: Audit. TailSTS never came to this policy, since {_printable(first)} has the same "
            "issuer; here every policy counts. Audit grants nothing; make it Enforce, or delete the policy."
        )
    if not policy.get("subject"):
        yield "No subject: everybody whom the issuer speaks for is trusted, as TailSTS did. Add subject or claims."
    if _is_unpinned(name, spec):
        claims = PINNING_CLAIMS[policy["issuer"]]
        yield (
            "REQUIRED: this issuer speaks for many tenants, and names pass on from one to another. The policy is not "
            f"accepted until it has an exact rule on one of {', '.join(sorted(claims))}:"
        )
        yield f'  claims: [{{claim: {max(claims)}, exact: "..."}}]'
    if policy["issuer"].startswith("http://") or policy["jwks_url"].startswith("http://"):
        yield "Plain http to this very machine: for `tailseal serve` only; a cluster refuses it."


def _document(name: str, comments: Iterable[str], spec: Mapping[str, Any], target: Target) -> str:
    oidc, grant = spec["from"]["oidc"], spec["grants"][0]
    metadata = {"name": name} | ({"namespace": target.namespace} if target.namespace else {})
    lines = [
        *(f"# {comment}" for comment in comments),
        f"apiVersion: {API_VERSION}",
        "kind: TrustPolicy",
        f"metadata: {_flow(metadata)}",
        "spec:",
        f"  identityProviderRef: {_flow(spec['identityProviderRef'])}",
        *([f"  enforcement: {spec['enforcement']}"] if "enforcement" in spec else []),
        "  from:",
        "    oidc:",
        *(f"      {member}: {_flow(value)}" for member, value in oidc.items()),
        "  grants:",
        f"    - name: {grant['name']}",
        f"      tailscale: {_flow(grant['tailscale'])}",
    ]
    return "\n".join(lines) + "\n"


def _flow(value: object) -> str:
    """A value in YAML's flow style, texts in quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value)


def _printable(text: str) -> str:
    """A file's name on one line of a comment."""
    return "".join(char if char.isprintable() else "?" for char in text)
