"""An application that knows its Secret alone, for tests that let people log in to it on a control plane."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import KeySet

from fakes import idp


@dataclass
class App:
    """An application that knows its Secret, and speaks OpenID Connect.

    Args:
        secret: the nine keys.
        http: of the person's browser, and the application's own.
    """

    secret: Mapping[str, str]
    http: httpx.AsyncClient

    @property
    def redirect(self) -> str:
        """Where people come back to."""
        return self.secret["redirect_uris"].split()[0]

    async def login(self) -> dict[str, Any]:
        """The tokens after a person said who they are; the ID token verifies."""
        asked = {
            "client_id": self.secret["client_id"],
            "redirect_uri": self.redirect,
            "response_type": "code",
            "scope": "openid email",
            "nonce": "n1",
            "code_challenge": base64.urlsafe_b64encode(sha256(idp.VERIFIER.encode()).digest()).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        answer = await self.http.get(f"{self.secret['authorization_endpoint']}?{urlencode(asked)}")
        if answer.status_code == 200:
            action, fields = idp.form(answer)
            answer = await self.http.post(action, data=fields | {"answer": "yes"})
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(self.redirect)
        sent = parse_qs(urlsplit(answer.headers["location"]).query)
        assert "code" in sent, sent
        tokens = await self.redeem("authorization_code", code=sent["code"][0])
        assert tokens.status_code == 200, tokens.text
        found: dict[str, Any] = tokens.json()
        assert (await self.verified(found["id_token"]))["nonce"] == "n1"
        return found

    async def redeem(self, grant_type: str, **fields: str) -> httpx.Response:
        data = {"grant_type": grant_type, **fields}
        if grant_type == "authorization_code":
            data |= {"redirect_uri": self.redirect, "code_verifier": idp.VERIFIER}
        auth = (self.secret["client_id"], self.secret["client_secret"])
        return await self.http.post(self.secret["token_endpoint"], data=data, auth=auth)

    async def refresh(self, token: str) -> httpx.Response:
        return await self.redeem("refresh_token", refresh_token=token)

    async def known(self) -> list[bool]:
        """Whether each replica takes its id and secret for right: then only the code is wrong."""
        errors = [(await self.redeem("authorization_code", code="none")).json()["error"] for _ in range(2)]
        assert set(errors) <= {"invalid_client", "invalid_grant"}, errors
        return [error == "invalid_grant" for error in errors]

    async def told(self, token: str) -> httpx.Response:
        return await self.http.get(self.secret["userinfo_endpoint"], headers={"authorization": f"Bearer {token}"})

    async def verified(self, token: str) -> dict[str, Any]:
        """Claims, by the keys that are published now."""
        keys = KeySet.import_key_set((await self.http.get(self.secret["jwks_uri"])).json())
        registry = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": self.secret["issuer"]},
            aud={"essential": True, "value": self.secret["client_id"]},
        )
        found = jwt.decode(token, keys, algorithms=["ES256"])
        registry.validate(found.claims)
        return dict(found.claims)
