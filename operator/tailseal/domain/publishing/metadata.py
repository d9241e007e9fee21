"""The discovery document beside a published key set, and when it may be written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailseal.domain import canonical

JWKS_PATH: Final = ".well-known/jwks.json"
DISCOVERY_PATH: Final = ".well-known/openid-configuration"
"""Below the issuer (OpenID Connect Discovery 1.0 section 4)."""

JWKS_TYPE: Final = "application/jwk-set+json"
"""RFC 7517 section 8.5."""

DISCOVERY_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is to be done with the document.

    Args:
        body: what to write; None: leave it as it is.
        conflict: why a verifier that reads it cannot verify our tokens; empty if it can.
    """

    body: bytes | None = None
    conflict: str = ""


def describe(present: bytes | None, *, issuer: str, jwks_uri: str, keys: Iterable[Mapping[str, Any]]) -> Metadata:
    """The document of an issuer whose tokens are verified from a copy of its keys, as Kubernetes' own issuers have it.

    One that names the same issuer and key set is left as it is, but for algorithms that it lacks: it may be another
    writer's, with endpoints that we do not know of. One of another issuer is never overwritten.
    """
    algorithms = sorted({key["alg"] for key in keys if "alg" in key})
    wanted: dict[str, Any] = {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    }
    if present is None:
        return Metadata(canonical.dumps(wanted)) if algorithms else Metadata()
    try:
        found = json.loads(present)
        canonical.dumps(found)
        named = {name: found.get(name) for name in ("issuer", "jwks_uri")}
    except (ValueError, AttributeError, RecursionError):
        return Metadata(conflict="what is there is not a discovery document that could be written back without loss")
    if named != {"issuer": issuer, "jwks_uri": jwks_uri}:
        return Metadata(conflict="the discovery document there names another issuer or another jwks_uri")
    listed = found.get("id_token_signing_alg_values_supported")
    known = listed if isinstance(listed, list) else []
    if lacking := [alg for alg in algorithms if alg not in known]:
        merged = {**wanted, **found, "id_token_signing_alg_values_supported": sorted({*map(str, known), *lacking})}
        return Metadata(canonical.dumps(merged))
    return Metadata()
