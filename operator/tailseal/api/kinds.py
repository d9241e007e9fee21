"""Our kinds as the API server is told about them: names, columns, and laws about `metadata.name`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tailseal.api.base import ApiModel, Rule
from tailseal.api.identityprovider import IdentityProviderSpec, IdentityProviderStatus
from tailseal.api.oauthclient import OAuthClientSpec, OAuthClientStatus
from tailseal.api.signingkey import SigningKeySpec, SigningKeyStatus
from tailseal.api.trustpolicy import TrustPolicySpec, TrustPolicyStatus

NAME_LENGTH = 45
"""Longest name of all kinds but TrustPolicy: the names in `meta` are made from it, and pods' from those."""


@dataclass(frozen=True, slots=True)
class KindInfo:
    """One kind.

    Args:
        kind: its name.
        plural: its name in URLs.
        short: its short name for kubectl.
        summary: one sentence for `kubectl explain`.
        spec: model of the spec.
        status: model of the status.
        column: title and JSON path of the one column that is special to it.
        rules: laws about `metadata.name`; `holds` takes the name.
        selectable: fields that lists and watches can be narrowed by.
    """

    kind: str
    plural: str
    short: str
    summary: str
    spec: type[SigningKeySpec | IdentityProviderSpec | TrustPolicySpec | OAuthClientSpec]
    status: type[ApiModel]
    column: tuple[str, str]
    rules: tuple[Rule, ...] = ()
    selectable: tuple[str, ...] = ()


_SHORT_NAME = Rule(
    cel=f"self.metadata.name.size() <= {NAME_LENGTH}",
    message=f"metadata.name must have at most {NAME_LENGTH} characters: names of other objects are made from it",
    holds=lambda name: len(name) <= NAME_LENGTH,
)
_SERVICE_NAME = Rule(
    cel="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    message="metadata.name must begin with a letter and hold only a-z, 0-9 and -: a Service is named after it",
    holds=lambda name: re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) is not None,
)

KINDS: dict[str, KindInfo] = {
    info.kind: info
    for info in (
        KindInfo(
            kind="SigningKey",
            plural="signingkeys",
            short="sk",
            summary="SigningKey says what to sign with, and how its keys follow each other.",
            spec=SigningKeySpec,
            status=SigningKeyStatus,
            column=("Active Key", ".status.activeKeyID"),
            rules=(_SHORT_NAME,),
        ),
        KindInfo(
            kind="IdentityProvider",
            plural="identityproviders",
            short="idp",
            summary="IdentityProvider is an issuer, the services that speak for it, and what others may do with it.",
            spec=IdentityProviderSpec,
            status=IdentityProviderStatus,
            column=("Issuer", ".spec.issuer"),
            rules=(_SHORT_NAME, _SERVICE_NAME),
        ),
        KindInfo(
            kind="TrustPolicy",
            plural="trustpolicies",
            short="tpol",
            summary="TrustPolicy says whose tokens are trusted, and what they are exchanged for.",
            spec=TrustPolicySpec,
            status=TrustPolicyStatus,
            column=("Provider", ".spec.identityProviderRef.name"),
            selectable=(".spec.identityProviderRef.name", ".spec.identityProviderRef.namespace"),
        ),
        KindInfo(
            kind="OAuthClient",
            plural="oauthclients",
            short="oac",
            summary="OAuthClient is an application that people log in to, or that asks for tokens in its own name.",
            spec=OAuthClientSpec,
            status=OAuthClientStatus,
            column=("Client ID", ".status.clientID"),
            rules=(_SHORT_NAME,),
            selectable=(".spec.identityProviderRef.name", ".spec.identityProviderRef.namespace"),
        ),
    )
}
"""All kinds, by name."""
