"""What clients find out by themselves (OpenID Connect Discovery, RFC 8414): what is implemented and on, no more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from tailseal.oauth import admission, claims, clientauth, device
from tailseal.oauth.authorize import MODES, PROMPTS
from tailseal.oauth.idtoken import ACR
from tailseal.tokens.algorithms import VERIFYING
from tailseal.tokens.request import GRANT_TYPE as EXCHANGE

PROTOCOL_CLAIMS: Final = (
    "iss",
    "sub",
    "aud",
    "azp",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "at_hash",
    "sid",
)


@dataclass(frozen=True, slots=True)
class Offered:
    """What this provider offers.

    Args:
        issuer: ours.
        algorithms: of the published keys.
        logins: whether people can log in.
        registers: whether clients may register themselves.
        introduces: whether a client id may be the URL of a document about it.
    """

    issuer: str
    algorithms: Collection[str]
    logins: bool
    registers: bool = False
    introduces: bool = False


def document(offered: Offered) -> dict[str, Any]:
    """The metadata; lists that would be empty are left out (RFC 8414 section 3.2)."""
    base, algorithms = offered.issuer.rstrip("/"), sorted(offered.algorithms)
    methods = list(clientauth.METHODS)
    proven = [method for method in methods if method != "none"]
    return {
        "issuer": offered.issuer,
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "token_endpoint": f"{base}/token",
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": list(VERIFYING),
        "grant_types_supported": [
            *(["authorization_code", "refresh_token", device.GRANT_TYPE] if offered.logins else []),
            "client_credentials",
            EXCHANGE,
        ],
        "introspection_endpoint": f"{base}/introspect",
        "introspection_endpoint_auth_methods_supported": proven,
        "introspection_endpoint_auth_signing_alg_values_supported": list(VERIFYING),
        "introspection_signing_alg_values_supported": algorithms,
        "revocation_endpoint": f"{base}/revoke",
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": list(VERIFYING),
        "dpop_signing_alg_values_supported": list(VERIFYING),
        "response_types_supported": ["code"] if offered.logins else ["id_token"],
        "subject_types_supported": ["public", "pairwise"] if offered.logins else ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        **(_of_logins(base) if offered.logins else {}),
        **({"registration_endpoint": f"{base}/register"} if offered.registers else {}),
        **({"client_id_metadata_document_supported": True} if offered.introduces else {}),
    }


def _of_logins(base: str) -> dict[str, Any]:
    return {
        "authorization_endpoint": f"{base}/authorize",
        "userinfo_endpoint": f"{base}/userinfo",
        "pushed_authorization_request_endpoint": f"{base}/par",
        "device_authorization_endpoint": f"{base}/device_authorization",
        "end_session_endpoint": f"{base}/logout",
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "scopes_supported": list(admission.SCOPES),
        "response_modes_supported": list(MODES),
        "prompt_values_supported": list(PROMPTS),
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": [ACR],
        "claims_supported": [*PROTOCOL_CLAIMS, *claims.SUPPORTED],
        "claims_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
    }
