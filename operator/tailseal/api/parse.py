"""From a manifest to its model, or to readable findings; checks whatever the API server would have checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

from tailseal.api.findings import Finding, SpecError
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.kinds import KINDS
from tailseal.api.oauthclient import OAuthClientSpec
from tailseal.api.signingkey import SigningKeySpec
from tailseal.api.trustpolicy import TrustPolicySpec
from tailseal.api.validation import parse_spec

__all__ = ["Finding", "SpecError", "parse", "parse_spec"]

Spec = SigningKeySpec | IdentityProviderSpec | TrustPolicySpec | OAuthClientSpec


@overload
def parse(kind: Literal["SigningKey"], obj: Mapping[str, Any], *, loopback: bool = False) -> SigningKeySpec: ...
@overload
def parse(
    kind: Literal["IdentityProvider"], obj: Mapping[str, Any], *, loopback: bool = False
) -> IdentityProviderSpec: ...
@overload
def parse(kind: Literal["TrustPolicy"], obj: Mapping[str, Any], *, loopback: bool = False) -> TrustPolicySpec: ...
@overload
def parse(kind: Literal["OAuthClient"], obj: Mapping[str, Any], *, loopback: bool = False) -> OAuthClientSpec: ...
@overload
def parse(kind: str, obj: Mapping[str, Any], *, loopback: bool = False) -> Spec: ...
def parse(kind: str, obj: Mapping[str, Any], *, loopback: bool = False) -> Spec:
    """The spec of an object of that kind.

    Args:
        kind: `SigningKey`, `IdentityProvider`, `TrustPolicy` or `OAuthClient`.
        obj: the object as its JSON says it.
        loopback: whether http URLs of this very machine are fine: without an API server only.

    Raises:
        SpecError: with one finding for everything that is wrong.
        KeyError: it is no kind of ours.
    """
    about = KINDS[kind]
    broken = [
        Finding("metadata.name", rule.message)
        for rule in about.rules
        if rule.holds is not None and not rule.holds(obj.get("metadata", {}).get("name", ""))
    ]
    try:
        spec = parse_spec(about.spec, obj.get("spec", {}), loopback=loopback)
    except SpecError as error:
        raise SpecError((*broken, *error.findings)) from None
    if broken:
        raise SpecError(broken)
    return spec
