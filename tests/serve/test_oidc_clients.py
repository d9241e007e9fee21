"""npm oauth4webapi, the strictest client there is, goes through every flow that it knows against the program itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fakes import keyfiles, oauthclients, served
from tailseal.domain.keys import public
from tailseal.oauth import resource
from tailseal_dev.cache.build import BuildError
from tailseal_dev.cache.npm import installed

API, GATEWAY, BEHIND = "https://api.example", "https://gateway.example", "https://behind.example"
MCP = "https://mcp.example/mcp"
REDIRECT = "https://app.example/cb"
SCOPES = ["openid", "profile", "email", "groups", "offline_access"]
CODE = ["authorization_code", "refresh_token"]


def objects(base: str, jwk: dict[str, Any]) -> list[dict[str, Any]]:
    usual: dict[str, Any] = {"redirectURIs": [REDIRECT], "scopes": SCOPES, "audiences": [API, GATEWAY]}
    every = [*CODE, "client_credentials", served.DEVICE]
    public = {name: value for name, value in jwk.items() if name != "d"}
    session = {"session": {"audiences": [GATEWAY], "clients": ["web"], "users": ["*@corp.example"]}}
    return [
        *served.provider(base, registration={"dynamic": "Enabled"}),
        *served.client("web", grantTypes=every, postLogoutRedirectURIs=[REDIRECT], **usual),
        *served.client("spa", type="Public", grantTypes=CODE, **usual),
        *served.client(
            "signing",
            grantTypes=[*CODE, "client_credentials"],
            authMethod="private_key_jwt",
            jwks={"keys": [public]},
            **usual,
        ),
        *served.client("api", grantTypes=["client_credentials"], resources=[API]),
        served.policy("behind", session, [{"name": "behind", "jwt": {"audiences": [BEHIND]}}]),
    ]


def test_oauth4webapi_finds_nothing_wrong_with_any_flow(tmp_path: Path) -> None:
    try:
        place = installed("oidc")
    except BuildError as error:
        pytest.skip(f"npm's clients are not here: {error}")
    private = keyfiles.key("P-256")
    jwk = keyfiles.jwk(private, kid="k1", alg="ES256")
    jwk |= {"kid": public.thumbprint(jwk)}
    base = served.base_url()
    configuration = {
        "issuer": base,
        "redirect": REDIRECT,
        "audience": API,
        "gateway": GATEWAY,
        "exchange": BEHIND,
        "resource": {"document": resource.document(MCP, base), "location": resource.location(MCP)},
        "person": {"email": "ana@corp.example", "sub": "userid:1"},
        "clients": {
            "web": {"id": "web", "secret": served.SECRET},
            "spa": {"id": "spa"},
            "signing": {"id": "signing", "jwk": jwk},
            "resource": {"id": "api", "secret": served.SECRET},
        },
    }
    with served.serving(tmp_path, base, objects(base, jwk)) as log:
        result = subprocess.run(
            ["node", "client.mjs"],
            cwd=place,
            input=json.dumps(configuration),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert result.returncode == 0, result.stderr + log.read_text()
    found = [json.loads(line) for line in result.stdout.splitlines()]
    wrong = [f"{each['flow']}: {each['error']}" for each in found if each["error"]]
    assert not wrong, "\n".join(wrong)
    assert len(found) >= 27
    assert oauthclients.SECRET not in log.read_text()
